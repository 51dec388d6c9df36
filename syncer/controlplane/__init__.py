"""A real Kubernetes control plane on one machine: kine on SQLite, kube-apiserver, controller manager, scheduler.

Each module makes one component's command line and the files that it reads; nothing here starts a process.
"""
