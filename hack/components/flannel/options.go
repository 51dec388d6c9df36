package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/flannel-io/flannel/pkg/ipmatch"
	"k8s.io/klog/v2"
)

// options are upstream's flags as far as they make sense with the Kubernetes subnet manager.
type options struct {
	version                bool
	kubeSubnetManager      bool
	kubeAPIURL             string
	kubeconfig             string
	annotationPrefix       string
	netConf                string
	subnetFile             string
	setNetworkUnavailable  bool
	ifaces                 repeated
	ifaceRegexes           repeated
	ifaceCanReach          string
	publicIP               string
	publicIPv6             string
	ipMasq                 bool
	masqRandomFullyDisable bool
	forwardRules           bool
	resyncSeconds          int
	healthzIP              string
	healthzPort            int
}

// repeated is a flag that may be given several times.
type repeated []string

func (r *repeated) String() string         { return strings.Join(*r, ",") }
func (r *repeated) Set(value string) error { *r = append(*r, value); return nil }

// parseOptions exits on wrong usage.
func parseOptions(args []string) *options {
	o := &options{}
	set := flag.NewFlagSet("flanneld", flag.ExitOnError)
	klog.InitFlags(set)
	o.bindCluster(set)
	o.bindInterfaces(set)
	o.bindTraffic(set)
	set.BoolVar(&o.version, "version", false, "print the version and exit")
	set.StringVar(&o.healthzIP, "healthz-ip", "0.0.0.0", "address of /healthz and /readyz")
	set.IntVar(&o.healthzPort, "healthz-port", 0, "port of /healthz and /readyz; 0 turns them off")
	_ = set.Parse(args) // ExitOnError
	if set.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "unexpected argument %q\n", set.Arg(0))
		os.Exit(2)
	}
	if !o.kubeSubnetManager && !o.version {
		fmt.Fprintln(os.Stderr, "--kube-subnet-mgr is required: this build has no etcd subnet manager")
		os.Exit(2)
	}
	return o
}

func (o *options) bindCluster(set *flag.FlagSet) {
	set.BoolVar(&o.kubeSubnetManager, "kube-subnet-mgr", false, "take subnets from the Node objects (required)")
	set.StringVar(&o.kubeAPIURL, "kube-api-url", "", "API server; a pod finds it by itself")
	set.StringVar(&o.kubeconfig, "kubeconfig-file", "", "kubeconfig; a pod does without")
	set.StringVar(&o.annotationPrefix, "kube-annotation-prefix", "flannel.alpha.coreos.com", "prefix of the Node annotations")
	set.StringVar(&o.netConf, "net-config-path", "/etc/kube-flannel/net-conf.json", "network configuration")
	set.StringVar(&o.subnetFile, "subnet-file", "/run/flannel/subnet.env", "where the node's subnet and MTU are written")
	set.BoolVar(&o.setNetworkUnavailable, "set-node-network-unavailable", true, "set the condition NetworkUnavailable to False when ready")
}

func (o *options) bindInterfaces(set *flag.FlagSet) {
	set.Var(&o.ifaces, "iface", "interface to other nodes, by name or address; repeatable, the first match wins")
	set.Var(&o.ifaceRegexes, "iface-regex", "the same by a regular expression; tried after --iface")
	set.StringVar(&o.ifaceCanReach, "iface-can-reach", "", "the interface that routes to this address; tried last")
	set.StringVar(&o.publicIP, "public-ip", "", "address that other nodes reach this one by")
	set.StringVar(&o.publicIPv6, "public-ipv6", "", "the same for IPv6")
}

func (o *options) bindTraffic(set *flag.FlagSet) {
	set.BoolVar(&o.ipMasq, "ip-masq", false, "masquerade what leaves the overlay network")
	set.BoolVar(&o.masqRandomFullyDisable, "ip-masq-fully-random-disable", false, "masquerade without fully-random ports")
	set.BoolVar(&o.forwardRules, "iptables-forward-rules", true, "accept forwarded packets from and to the overlay network")
	set.IntVar(&o.resyncSeconds, "iptables-resync", 5, "seconds between two checks of the iptables rules")
}

// publicAddresses prefers what the Node's annotations say.
func (o *options) publicAddresses(stored, stored6 string) ipmatch.PublicIPOpts {
	return ipmatch.PublicIPOpts{
		PublicIP:   cmp.Or(stored, o.publicIP),
		PublicIPv6: cmp.Or(stored6, o.publicIPv6),
	}
}

// interfaceMatch holds one criterion; all three empty means the default route's interface.
type interfaceMatch struct{ name, regex, reach string }

func (o *options) interfaceMatches(public ipmatch.PublicIPOpts) []interfaceMatch {
	var matches []interfaceMatch
	for _, name := range o.ifaces {
		matches = append(matches, interfaceMatch{name: name})
	}
	for _, regex := range o.ifaceRegexes {
		matches = append(matches, interfaceMatch{regex: regex})
	}
	if o.ifaceCanReach != "" {
		matches = append(matches, interfaceMatch{reach: o.ifaceCanReach})
	}
	if len(matches) == 0 {
		matches = append(matches, interfaceMatch{name: cmp.Or(public.PublicIP, public.PublicIPv6)})
	}
	return matches
}
