package main

import (
	"bufio"
	"math/big"
	"net"
	"os"
	"strings"

	"github.com/flannel-io/flannel/pkg/ip"
)

// previousSubnets is what an earlier run wrote to the subnet file; zero where it said nothing. In iptables
// mode the rules of another subnet are removed by it.
type previousSubnets struct {
	network, subnet   ip.IP4Net
	network6, subnet6 ip.IP6Net
}

func readSubnetFile(path string) previousSubnets {
	values := readVariables(path)
	return previousSubnets{
		network:  parseIPv4(values["FLANNEL_NETWORK"]),
		subnet:   parseIPv4(values["FLANNEL_SUBNET"]),
		network6: parseIPv6(values["FLANNEL_IPV6_NETWORK"]),
		subnet6:  parseIPv6(values["FLANNEL_IPV6_SUBNET"]),
	}
}

// readVariables reads KEY=VALUE lines; a file that can't be read has none.
func readVariables(path string) map[string]string {
	values := map[string]string{}
	file, err := os.Open(path)
	if err != nil {
		return values
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if key, value, found := strings.Cut(lines.Text(), "="); found {
			values[key] = value
		}
	}
	return values
}

func parseIPv4(cidr string) ip.IP4Net {
	address, network, err := net.ParseCIDR(cidr)
	if err != nil || address.To4() == nil {
		return ip.IP4Net{}
	}
	return ip.FromIPNet(network)
}

func parseIPv6(cidr string) ip.IP6Net {
	address, network, err := net.ParseCIDR(cidr)
	if err != nil || address.To4() != nil {
		return ip.IP6Net{IP: (*ip.IP6)(new(big.Int))}
	}
	return ip.FromIP6Net(network)
}
