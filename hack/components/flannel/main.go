// flanneld, reduced to what a Kubernetes DaemonSet uses: subnets from the Node objects' podCIDR, the vxlan
// and host-gw backends, and masquerading through nftables or iptables.
//
// Upstream's own main links every backend, and one of them needs a cloud vendor's module that is not always to
// be had. Its packages build without it; this program wires those. Flag names and defaults are upstream's, so
// that its DaemonSet manifest applies unchanged.
//
// Differences, on purpose: there is no etcd subnet manager (--kube-subnet-mgr is required); registering
// the network is retried while the controller manager has not yet given the node its podCIDR, where upstream
// exits and waits for the kubelet's restart backoff; and failing to remove the rules of the traffic manager that
// is not in use is a warning, because an image without iptables cannot have made any.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/flannel-io/flannel/pkg/backend"
	_ "github.com/flannel-io/flannel/pkg/backend/hostgw" // registers itself
	_ "github.com/flannel-io/flannel/pkg/backend/vxlan"  // registers itself
	"github.com/flannel-io/flannel/pkg/ipmatch"
	"github.com/flannel-io/flannel/pkg/subnet"
	"github.com/flannel-io/flannel/pkg/subnet/kube"
	"github.com/flannel-io/flannel/pkg/trafficmngr"
	"github.com/flannel-io/flannel/pkg/trafficmngr/iptables"
	"github.com/flannel-io/flannel/pkg/trafficmngr/nftables"
	"github.com/flannel-io/flannel/pkg/version"
	"k8s.io/klog/v2"
)

const (
	registerPatience = 60 * time.Second       // how long a node may wait for its podCIDR
	registerInterval = 250 * time.Millisecond // between two tries
	bridgeFilter     = "/proc/sys/net/bridge/bridge-nf-call-iptables"
)

func main() {
	opts := parseOptions(os.Args[1:])
	if opts.version {
		fmt.Println(version.Version)
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, opts); err != nil && !errors.Is(err, context.Canceled) {
		klog.ErrorS(err, "flanneld stops")
		klog.Flush()
		os.Exit(1)
	}
}

// run returns when ctx ends, after every goroutine that it started.
func run(parent context.Context, opts *options) error {
	ctx, cancel := context.WithCancel(parent)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel() // runs before the wait

	health := &healthServer{}
	if opts.healthzPort > 0 {
		if err := health.serve(ctx, opts.healthzIP, opts.healthzPort, &running); err != nil {
			return err
		}
	}
	manager, err := kube.NewSubnetManager(
		ctx, opts.kubeAPIURL, opts.kubeconfig, opts.annotationPrefix, opts.netConf, opts.setNetworkUnavailable)
	if err != nil {
		return fmt.Errorf("subnet manager: %w", err)
	}
	config, err := manager.GetNetworkConfig(ctx)
	if err != nil {
		return fmt.Errorf("network configuration %s: %w", opts.netConf, err)
	}
	network, err := register(ctx, opts, manager, config, &running)
	if err != nil {
		return err
	}
	if err := route(ctx, opts, config, network); err != nil {
		return err
	}
	lease := network.Lease()
	if err := manager.HandleSubnetFile(
		opts.subnetFile, config, opts.ipMasq, lease.Subnet, lease.IPv6Subnet, network.MTU()); err != nil {
		return fmt.Errorf("subnet file %s: %w", opts.subnetFile, err)
	}
	health.ready.Store(true)
	klog.InfoS("flannel is ready", "subnet", lease.Subnet, "backend", config.BackendType, "mtu", network.MTU())
	running.Go(func() { network.Run(ctx) })
	if err := manager.CompleteLease(ctx, lease, &running); err != nil {
		return fmt.Errorf("node condition NetworkUnavailable: %w", err)
	}
	<-ctx.Done()
	return ctx.Err()
}

// register creates the backend's device and publishes this node's lease, once the node has a podCIDR.
func register(ctx context.Context, opts *options, manager subnet.Manager, config *subnet.Config,
	running *sync.WaitGroup) (backend.Network, error) {
	external, err := externalInterface(ctx, opts, manager, config)
	if err != nil {
		return nil, err
	}
	kind, err := backend.NewManager(ctx, manager, external).GetBackend(config.BackendType)
	if err != nil {
		return nil, fmt.Errorf("backend %q: %w", config.BackendType, err)
	}
	deadline := time.Now().Add(registerPatience)
	for {
		network, err := kind.RegisterNetwork(ctx, running, config)
		if err == nil {
			return network, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("register the network for %s: %w", registerPatience, err)
		}
		klog.V(1).InfoS("the network can't be registered yet", "reason", err)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(registerInterval):
		}
	}
}

// externalInterface is the first that --iface, --iface-regex and --iface-can-reach match, in that order;
// without any of them, the one with the node's public IP or the default route.
func externalInterface(ctx context.Context, opts *options, manager subnet.Manager,
	config *subnet.Config) (*backend.ExternalInterface, error) {
	family, err := ipmatch.GetIPFamily(config.EnableIPv4, config.EnableIPv6)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", opts.netConf, err)
	}
	public := opts.publicAddresses(manager.GetStoredPublicIP(ctx))
	var failures []error
	for _, match := range opts.interfaceMatches(public) {
		found, err := ipmatch.LookupExtIface(match.name, match.regex, match.reach, family, public)
		if err == nil {
			return found, nil
		}
		failures = append(failures, err)
	}
	return nil, fmt.Errorf("no network interface to reach other nodes by: %w", errors.Join(failures...))
}

// route sets the masquerade and forward rules and keeps them set.
func route(ctx context.Context, opts *options, config *subnet.Config, network backend.Network) error {
	if !config.EnableNFTables {
		if _, err := os.Stat(bridgeFilter); err != nil {
			return fmt.Errorf("iptables mode needs the kernel module br_netfilter: %w", err)
		}
	}
	if err := trafficManager(!config.EnableNFTables).CleanUp(ctx); err != nil {
		klog.InfoS("rules of the other traffic manager were not looked for", "reason", err)
	}
	traffic := trafficManager(config.EnableNFTables)
	if err := traffic.Init(ctx); err != nil {
		return fmt.Errorf("traffic manager: %w", err)
	}
	if opts.ipMasq {
		before := readSubnetFile(opts.subnetFile)
		if err := traffic.SetupAndEnsureMasqRules(ctx, config.Network, before.subnet, before.network,
			config.IPv6Network, before.subnet6, before.network6, network.Lease(),
			opts.resyncSeconds, opts.masqRandomFullyDisable); err != nil {
			return fmt.Errorf("masquerade rules: %w", err)
		}
	}
	if opts.forwardRules {
		traffic.SetupAndEnsureForwardRules(ctx, config.Network, config.IPv6Network, opts.resyncSeconds)
	}
	return nil
}

func trafficManager(useNFTables bool) trafficmngr.TrafficManager {
	if useNFTables {
		return &nftables.NFTablesManager{}
	}
	return &iptables.IPTablesManager{}
}
