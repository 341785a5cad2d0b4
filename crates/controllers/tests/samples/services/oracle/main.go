// Command oracle lets kube-proxy's own proxier, of mode iptables or nftables, write the rules of one node into the
// network namespace that it is started in, from the lists of Services and EndpointSlices in a directory.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	utilsysctl "k8s.io/component-helpers/node/util/sysctl"
	"k8s.io/kubernetes/pkg/proxy"
	"k8s.io/kubernetes/pkg/proxy/iptables"
	"k8s.io/kubernetes/pkg/proxy/nftables"
	proxyutil "k8s.io/kubernetes/pkg/proxy/util"
	utiliptables "k8s.io/kubernetes/pkg/util/iptables"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func read(path string, into any) {
	data, err := os.ReadFile(path)
	must(err)
	must(json.Unmarshal(data, into))
}

func main() {
	dir := flag.String("objects", ".", "directory with services.json and endpointslices.json")
	node := flag.String("node", "n1", "name of the node")
	nodeIP := flag.String("node-ip", "", "comma-separated addresses of the node")
	clusterCIDR := flag.String("cluster-cidr", "", "comma-separated")
	masqueradeAll := flag.Bool("masquerade-all", false, "")
	masqueradeBit := flag.Int("masquerade-bit", 14, "")
	localhostNodePorts := flag.Bool("localhost-nodeports", true, "")
	nodePortAddresses := flag.String("nodeport-addresses", "", "comma-separated")
	labels := flag.String("labels", "", "topology labels, key=value comma-separated")
	bridge := flag.String("bridge", "", "detect local traffic by this interface")
	prefix := flag.String("prefix", "", "detect local traffic by this interface name prefix")
	isNftables := flag.Bool("nftables", false, "mode nftables instead of iptables")
	serviceCIDRs := flag.String("service-cidrs", "", "comma-separated ranges of ServiceCIDR objects")
	flag.Parse()

	var services v1.ServiceList
	var slices discovery.EndpointSliceList
	read(filepath.Join(*dir, "services.json"), &services)
	read(filepath.Join(*dir, "endpointslices.json"), &slices)

	var ports []string
	if *nodePortAddresses != "" {
		ports = strings.Split(*nodePortAddresses, ",")
	}
	topology := map[string]string{}
	for _, pair := range strings.Split(*labels, ",") {
		if key, value, ok := strings.Cut(pair, "="); ok {
			topology[key] = value
		}
	}
	for _, family := range []v1.IPFamily{v1.IPv4Protocol, v1.IPv6Protocol} {
		isIPv6 := family == v1.IPv6Protocol
		address := net.IPv4(127, 0, 0, 1)
		protocol := utiliptables.ProtocolIPv4
		if isIPv6 {
			address = net.IPv6loopback
			protocol = utiliptables.ProtocolIPv6
		}
		for _, text := range strings.Split(*nodeIP, ",") {
			if ip := net.ParseIP(text); ip != nil && (ip.To4() == nil) == isIPv6 {
				address = ip
			}
		}
		detector := proxyutil.NewNoOpLocalDetector()
		for _, cidr := range strings.Split(*clusterCIDR, ",") {
			if cidr != "" && strings.Contains(cidr, ":") == isIPv6 {
				detector = proxyutil.NewDetectLocalByCIDR(cidr)
			}
		}
		if *bridge != "" {
			detector = proxyutil.NewDetectLocalByBridgeInterface(*bridge)
		}
		if *prefix != "" {
			detector = proxyutil.NewDetectLocalByInterfaceNamePrefix(*prefix)
		}
		var proxier proxy.Provider
		var err error
		if *isNftables {
			proxier, err = nftables.NewProxier(context.Background(), family, 30*time.Second, time.Second, *masqueradeAll,
				*masqueradeBit, detector, *node, address, nil, nil, ports, false)
		} else {
			proxier, err = iptables.NewProxier(context.Background(), family, utiliptables.New(protocol), utilsysctl.New(),
				30*time.Second, time.Second, *masqueradeAll, *localhostNodePorts && !isIPv6, *masqueradeBit, detector, *node,
				address, nil, nil, ports, false)
		}
		must(err)
		if *serviceCIDRs != "" {
			proxier.OnServiceCIDRsChanged(strings.Split(*serviceCIDRs, ","))
		}
		proxier.OnTopologyChange(topology)
		for i := range services.Items {
			proxier.OnServiceAdd(&services.Items[i])
		}
		for i := range slices.Items {
			proxier.OnEndpointSliceAdd(&slices.Items[i])
		}
		proxier.OnServiceSynced()
		proxier.OnEndpointSlicesSynced()
	}
	// The canary chains are made by goroutines.
	time.Sleep(2 * time.Second)
}
