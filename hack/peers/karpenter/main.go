// Karpenter's provisioning scheduler on pods and instance types from standard input: the peer of `hack/bench planner`.
//
// It is set up as upstream's own scheduling benchmark does it (one NodePool, no daemons, no nodes, an empty API server),
// but with one worker. Only Solve is timed: topology and scheduler are made before, and the pods are decoded before that.
// Pods and types come as JSON (see input), and the answer goes to standard output (see answer).
//
// Limits: a type has the labels that upstream's fake types have; the pool is upstream's test pool without its limits.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/log"

	v1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/cloudprovider"
	"sigs.k8s.io/karpenter/pkg/cloudprovider/fake"
	"sigs.k8s.io/karpenter/pkg/controllers/provisioning/scheduling"
	"sigs.k8s.io/karpenter/pkg/controllers/state"
	"sigs.k8s.io/karpenter/pkg/events"
	"sigs.k8s.io/karpenter/pkg/operator/injection"
	"sigs.k8s.io/karpenter/pkg/operator/logging"
	"sigs.k8s.io/karpenter/pkg/operator/options"
	requirements "sigs.k8s.io/karpenter/pkg/scheduling"
	"sigs.k8s.io/karpenter/pkg/test"
)

// input is what is to be scheduled. A pod is Kubernetes' own JSON with a uid.
type input struct {
	Pods  []*corev1.Pod  `json:"pods"`
	Types []instanceType `json:"types"`
}

type instanceType struct {
	Name      string              `json:"name"`
	Capacity  corev1.ResourceList `json:"capacity"`
	Overhead  corev1.ResourceList `json:"overhead"`
	Offerings []offering          `json:"offerings"`
}

// offering has its price in dollars an hour.
type offering struct {
	Zone         string  `json:"zone"`
	CapacityType string  `json:"capacityType"`
	Price        float64 `json:"price"`
}

// answer has times in seconds of the wall clock and of all threads' CPU. The cost is that of the cheapest offering that
// each claim allows.
type answer struct {
	Seconds    float64 `json:"seconds"`
	CPUSeconds float64 `json:"cpu_seconds"`
	Nodes      int     `json:"nodes"`
	Unplaced   int     `json:"unplaced"`
	HourlyCost float64 `json:"hourly_cost"`
	PeakRSSMB  float64 `json:"peak_rss_mb"`
}

func main() {
	log.SetLogger(logging.NopLogger)
	ctx := options.ToContext(injection.WithControllerName(context.Background(), "benchmark"), test.Options())
	if len(os.Args) > 1 && os.Args[1] == "consolidate" {
		found, err := consolidate(ctx)
		if err != nil {
			fail("consolidation", err)
		}
		if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
			fail("standard output", err)
		}
		return
	}
	var given input
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		fail("standard input", err)
	}
	found, err := solve(given)
	if err != nil {
		fail("the scheduler", err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		fail("standard output", err)
	}
}

func fail(what string, err error) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
	os.Exit(1)
}

func solve(given input) (answer, error) {
	ctx := options.ToContext(injection.WithControllerName(context.Background(), "provisioner"), test.Options())
	scheduler, err := newScheduler(ctx, given)
	if err != nil {
		return answer{}, err
	}
	start, cpuStart := time.Now(), cpuSeconds()
	results, err := scheduler.Solve(ctx, given.Pods)
	if err != nil {
		return answer{}, err
	}
	return answer{
		Seconds:    time.Since(start).Seconds(),
		CPUSeconds: cpuSeconds() - cpuStart,
		Nodes:      len(results.NewNodeClaims),
		Unplaced:   len(results.PodErrors),
		HourlyCost: hourlyCost(results.NewNodeClaims),
		PeakRSSMB:  float64(usage().Maxrss) * 1024 / 1e6,
	}, nil
}

func newScheduler(ctx context.Context, given input) (*scheduling.Scheduler, error) {
	pool := test.NodePool()
	pool.Spec.Limits = nil
	pools, types := []*v1.NodePool{pool}, map[string][]*cloudprovider.InstanceType{pool.Name: instanceTypes(given.Types)}
	cloud := fake.NewCloudProvider()
	cloud.InstanceTypes = types[pool.Name]
	client, now := fakeclient.NewFakeClient(), &clock.RealClock{}
	cluster := state.NewCluster(now, client, cloud)
	oneWorker := scheduling.NumConcurrentReconciles(1)
	topology, err := scheduling.NewTopology(ctx, client, cluster, nil, pools, types, given.Pods, oneWorker)
	if err != nil {
		return nil, err
	}
	recorder := events.NewRecorder(&record.FakeRecorder{})
	return scheduling.NewScheduler(
		ctx, client, pools, cluster, nil, topology, types, nil, recorder, now, nil, nil, oneWorker,
	), nil
}

func instanceTypes(given []instanceType) []*cloudprovider.InstanceType {
	types := make([]*cloudprovider.InstanceType, 0, len(given))
	for _, each := range given {
		made := fake.NewInstanceType(
			each.Name, fake.WithResources(each.Capacity), fake.WithOfferings(offerings(each.Offerings)...),
		)
		made.Overhead = &cloudprovider.InstanceTypeOverhead{KubeReserved: each.Overhead}
		types = append(types, made)
	}
	return types
}

func offerings(given []offering) []cloudprovider.Offering {
	made := make([]cloudprovider.Offering, 0, len(given))
	for _, each := range given {
		labels := map[string]string{
			v1.CapacityTypeLabelKey:  each.CapacityType,
			corev1.LabelTopologyZone: each.Zone,
		}
		made = append(made, cloudprovider.Offering{
			Available: true, Requirements: requirements.NewLabelRequirements(labels), Price: each.Price,
		})
	}
	return made
}

func hourlyCost(claims []*scheduling.NodeClaim) float64 {
	total := 0.0
	for _, claim := range claims {
		cheapest := math.Inf(1)
		for _, each := range claim.InstanceTypeOptions {
			for _, place := range each.Offerings.Available().Compatible(claim.Requirements) {
				cheapest = min(cheapest, place.Price)
			}
		}
		total += cheapest
	}
	return total
}

func cpuSeconds() float64 {
	used := usage()
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
}

func usage() syscall.Rusage {
	var used syscall.Rusage
	// it fails only for an address or a target that can't be
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return used
}
