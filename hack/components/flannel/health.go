package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
)

// healthServer answers /healthz while the process lives and /readyz once pods can be routed.
type healthServer struct {
	ready atomic.Bool
}

// serve listens before it returns, so that a port in use is an error at once.
func (h *healthServer) serve(ctx context.Context, address string, port int, running *sync.WaitGroup) error {
	listener, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(port)))
	if err != nil {
		return fmt.Errorf("health port: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/readyz", h.answerReady)
	server := &http.Server{Handler: mux}
	running.Go(func() { _ = server.Serve(listener) })
	running.Go(func() {
		<-ctx.Done()
		_ = server.Close()
	})
	return nil
}

func (h *healthServer) answerReady(w http.ResponseWriter, _ *http.Request) {
	if !h.ready.Load() {
		http.Error(w, "the network is not registered yet", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}
