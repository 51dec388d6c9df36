"""The virtual cluster: its control plane, the store behind it, and the supervisor that keeps both running."""
