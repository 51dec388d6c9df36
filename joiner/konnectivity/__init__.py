"""Konnectivity: the way from kube-apiserver to nodes that nothing can dial.

```
kube-apiserver ──(unix socket: gRPC or HTTP CONNECT)──► server ◄──(TLS, gRPC; the agent dials)── agent ──► kubelet, pods
```

`server` and `agent` are the two processes; both speak upstream's wire protocol (pb/konnectivity.proto), so that
either one may be upstream's. What each module does:

- `packets`: bytes to packets and back
- `connection`, `link`: one tunnelled connection; all those that share one agent's stream, with fair turns and windows
- `sockets`: the plain socket at an end of a connection
- `grpc_frontend`, `http_frontend`: what kube-apiserver's egress selector dials
- `agents`: which agent gets a dial; `authentication`: who may be an agent
- `dialing`: how an agent reaches a target; `transport`: names and options that both processes share

Limits: TCP only. One dial per Proxy stream, as upstream's client does. Half-close passes between this project's own
ends only, for upstream's protocol has no packet for it: there the end of one direction closes both, data first.
"""
