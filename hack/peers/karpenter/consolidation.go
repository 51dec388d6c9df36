package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/awslabs/operatorpkg/status"

	v1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/cloudprovider"
	"sigs.k8s.io/karpenter/pkg/cloudprovider/fake"
	"sigs.k8s.io/karpenter/pkg/controllers/disruption"
	"sigs.k8s.io/karpenter/pkg/controllers/dynamicresources/deviceallocation"
	"sigs.k8s.io/karpenter/pkg/controllers/provisioning"
	"sigs.k8s.io/karpenter/pkg/controllers/provisioning/scheduling"
	"sigs.k8s.io/karpenter/pkg/controllers/state"
	"sigs.k8s.io/karpenter/pkg/events"
	"sigs.k8s.io/karpenter/pkg/state/virtualpods"
	"sigs.k8s.io/karpenter/pkg/test"
)

// fleet is what is to be consolidated. A pod is Kubernetes' own JSON, bound to a node; all pools sell all types, and may
// be disrupted as a whole. No more than so many commands are carried out, and none is begun after so many minutes.
type fleet struct {
	Pods   []*corev1.Pod  `json:"pods"`
	Nodes  []fleetNode    `json:"nodes"`
	Pools  []string       `json:"pools"`
	Types  []instanceType `json:"types"`
	Rounds int            `json:"rounds"`
	Limit  float64        `json:"minutes"`
}

type fleetNode struct {
	Name         string `json:"name"`
	Pool         string `json:"pool"`
	Type         string `json:"type"`
	Zone         string `json:"zone"`
	CapacityType string `json:"capacityType"`
}

// consolidated is the answer. The seconds are all threads' CPU time of the first decision, the simulations those of single nodes; seen is
// how many nodes the first pass over single nodes got through before it found one or was out of time.
type consolidated struct {
	Seconds       float64 `json:"seconds"`
	SimulationP50 float64 `json:"simulation_ms_p50"`
	Seen          int     `json:"candidates"`
	Removed       int     `json:"removed"`
	CostBefore    float64 `json:"cost_before"`
	CostAfter     float64 `json:"cost_after"`
	Rounds        int     `json:"rounds"`
	NothingLeft   bool    `json:"nothing_left"`
	SecondsOfAll  float64 `json:"seconds_of_all"`
}

// accepting lets every command through at once: upstream waits 15 seconds and simulates it again.
type accepting struct{}

func (accepting) Validate(_ context.Context, command disruption.Command, _ time.Duration) (disruption.Command, error) {
	return command, nil
}

func consolidate(ctx context.Context) (consolidated, error) {
	var given fleet
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		return consolidated{}, err
	}
	world, err := newWorld(ctx, given)
	if err != nil {
		return consolidated{}, err
	}
	return world.run(ctx, given.Rounds, time.Duration(given.Limit*float64(time.Minute)))
}

// world is the cluster as upstream's informers would show it, and the controllers that look at it.
type world struct {
	store       *store
	cloud       *fake.CloudProvider
	cluster     *state.Cluster
	recorder    events.Recorder
	provisioner *provisioning.Provisioner
	queue       *disruption.Queue
	methods     []disruption.Method
	pools       []string
	types       map[string]*cloudprovider.InstanceType
	made        int
}

func newWorld(ctx context.Context, given fleet) (*world, error) {
	types, pools := instanceTypes(given.Types), make([]client.Object, 0, len(given.Pools))
	cloud := fake.NewCloudProvider()
	cloud.InstanceTypes = types
	for _, name := range given.Pools {
		pools = append(pools, nodePool(name))
	}
	made := &world{
		store: newStore(fakeclient.NewClientBuilder().WithObjects(pools...).WithStatusSubresource(pools...).Build()),
		cloud: cloud, recorder: events.NewRecorder(&record.FakeRecorder{}), pools: given.Pools,
		types: map[string]*cloudprovider.InstanceType{},
	}
	for _, each := range types {
		made.types[each.Name] = each
	}
	now := &clock.RealClock{}
	made.cluster = state.NewCluster(now, made.store, cloud)
	made.provisioner = provisioning.NewProvisioner(
		made.store, made.recorder, cloud, made.cluster, now,
		deviceallocation.NewController(made.store), virtualpods.NewVirtualPodCache(made.store),
	)
	made.queue = disruption.NewQueue(made.store, made.recorder, made.cluster, now, made.provisioner)
	c := disruption.MakeConsolidation(
		now, made.cluster, made.store, made.provisioner, cloud, made.recorder, made.queue,
	)
	accept := disruption.WithValidator(accepting{})
	made.methods = []disruption.Method{
		disruption.NewEmptiness(c, accept),
		disruption.NewMultiNodeConsolidation(c, accept),
		disruption.NewSingleNodeConsolidation(c, accept),
	}
	for _, pod := range given.Pods {
		made.store.pods[pod.Name] = pod
	}
	made.store.arrange()
	for _, each := range given.Nodes {
		if err := made.add(ctx, each); err != nil {
			return nil, err
		}
	}
	for _, pod := range given.Pods {
		if err := made.cluster.UpdatePod(ctx, pod); err != nil {
			return nil, err
		}
	}
	return made, nil
}

func nodePool(name string) *v1.NodePool {
	pool := test.NodePool(v1.NodePool{ObjectMeta: metav1.ObjectMeta{Name: name}})
	pool.Spec.Limits = nil
	// or it would only replace by spot machines, of which none are on sale
	pool.Spec.Template.Spec.Requirements = []v1.NodeSelectorRequirementWithMinValues{{
		Key: v1.CapacityTypeLabelKey, Operator: corev1.NodeSelectorOpIn, Values: []string{v1.CapacityTypeOnDemand},
	}}
	pool.Spec.Disruption.ConsolidateAfter = v1.MustParseNillableDuration("0s")
	pool.Spec.Disruption.ConsolidationPolicy = v1.ConsolidationPolicyWhenEmptyOrUnderutilized
	pool.Spec.Disruption.Budgets = []v1.Budget{{Nodes: "100%"}}
	pool.StatusConditions().SetTrue(status.ConditionReady)
	return pool
}

func (w *world) add(ctx context.Context, each fleetNode) error {
	machine, id := w.types[each.Type], "fake:///"+each.Name
	shown := map[string]string{
		v1.NodePoolLabelKey: each.Pool, v1.CapacityTypeLabelKey: each.CapacityType,
		v1.NodeRegisteredLabelKey: "true", v1.NodeInitializedLabelKey: "true",
		corev1.LabelInstanceTypeStable: each.Type, corev1.LabelTopologyZone: each.Zone,
		corev1.LabelHostname: each.Name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
	}
	claim := test.NodeClaim(v1.NodeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: each.Name, Labels: shown},
		Status: v1.NodeClaimStatus{
			ProviderID: id, NodeName: each.Name, Capacity: machine.Capacity, Allocatable: machine.Allocatable(),
		},
	})
	for _, condition := range []string{
		v1.ConditionTypeLaunched, v1.ConditionTypeRegistered, v1.ConditionTypeInitialized, v1.ConditionTypeConsolidatable,
	} {
		claim.StatusConditions().SetTrue(condition)
	}
	node := test.Node(test.NodeOptions{
		ObjectMeta: metav1.ObjectMeta{Name: each.Name, Labels: shown},
		ProviderID: id, Capacity: machine.Capacity, Allocatable: machine.Allocatable(),
	})
	w.store.nodes[node.Name] = node
	w.cluster.UpdateNodeClaim(claim)
	return w.cluster.UpdateNode(ctx, node)
}

func (w *world) run(ctx context.Context, rounds int, limit time.Duration) (consolidated, error) {
	before := len(w.store.nodes)
	names := map[string]bool{}
	for name := range w.store.nodes {
		names[name] = true
	}
	found := consolidated{CostBefore: w.cost()}
	var err error
	if found.SimulationP50, err = w.simulationP50(ctx); err != nil {
		return found, err
	}
	began, started := cpuSeconds(), time.Now()
	for !found.NothingLeft && found.Rounds < rounds && time.Since(started) < limit {
		start := cpuSeconds()
		acted, seen, err := w.round(ctx)
		if err != nil {
			return found, err
		}
		if found.Rounds == 0 {
			found.Seconds = cpuSeconds() - start
		}
		found.Seen = max(found.Seen, seen)
		found.NothingLeft = !acted
		found.Rounds++
	}
	found.SecondsOfAll = cpuSeconds() - began
	found.Removed, found.CostAfter = before, w.cost()
	for name := range w.store.nodes {
		if names[name] {
			found.Removed--
		}
	}
	return found, nil
}

// round is one pass of upstream's controller: the first method that finds something to do does it.
func (w *world) round(ctx context.Context) (bool, int, error) {
	seen := 0
	for _, method := range w.methods {
		candidates, err := w.candidates(ctx, method)
		if err != nil {
			return false, seen, err
		}
		budgets := map[string]int{}
		for _, pool := range w.pools {
			budgets[pool] = len(candidates)
		}
		w.store.simulations = 0
		commands, err := method.ComputeCommands(ctx, budgets, candidates...)
		if err != nil {
			return false, seen, err
		}
		if method.ConsolidationType() == disruption.SingleNodeConsolidationType {
			seen = w.store.simulations
		}
		acted := false
		for _, command := range commands {
			if len(command.Candidates) > 0 {
				acted = true
				if err := w.carryOut(ctx, command); err != nil {
					return false, seen, err
				}
			}
		}
		if acted {
			return true, seen, nil
		}
	}
	return false, seen, nil
}

func (w *world) candidates(ctx context.Context, method disruption.Method) ([]*disruption.Candidate, error) {
	return disruption.GetCandidates(
		ctx, w.cluster, w.store, w.recorder, &clock.RealClock{}, w.cloud, method.ShouldDisrupt, method.Class(), w.queue,
	)
}

func (w *world) simulationP50(ctx context.Context) (float64, error) {
	candidates, err := w.candidates(ctx, w.methods[len(w.methods)-1])
	if err != nil {
		return 0, err
	}
	times := []float64{}
	for _, candidate := range candidates[:min(samples, len(candidates))] {
		start := cpuSeconds()
		if _, err := disruption.SimulateScheduling(
			ctx, w.store, w.cluster, w.provisioner, &clock.RealClock{}, w.recorder,
			[]scheduling.Options{scheduling.IsConsolidationSimulation}, candidate,
		); err != nil {
			return 0, err
		}
		times = append(times, (cpuSeconds()-start)*1000)
	}
	if len(times) == 0 {
		return 0, nil
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}

// samples are the simulations whose median is told.
const samples = 9

// carryOut removes the candidates; their pods go where the simulation has put them.
func (w *world) carryOut(ctx context.Context, command disruption.Command) error {
	homes := map[types.UID]string{}
	for _, node := range command.Results.ExistingNodes {
		for _, pod := range node.Pods {
			homes[pod.UID] = node.Name()
		}
	}
	for _, replacement := range command.Replacements {
		name, err := w.launch(ctx, replacement.NodeClaim)
		if err != nil {
			return err
		}
		for _, pod := range replacement.Pods {
			homes[pod.UID] = name
		}
	}
	for _, candidate := range command.Candidates {
		w.cluster.DeleteNode(candidate.Name())
		w.cluster.DeleteNodeClaim(candidate.NodeClaim.Name)
		delete(w.store.nodes, candidate.Name())
	}
	for name, pod := range w.store.pods {
		if _, there := w.store.nodes[pod.Spec.NodeName]; there {
			continue
		}
		home, found := homes[pod.UID]
		if !found {
			return fmt.Errorf("pod %s has lost its node", name)
		}
		moved := pod.DeepCopy()
		moved.Spec.NodeName = home
		w.store.pods[name] = moved
		if err := w.cluster.UpdatePod(ctx, moved); err != nil {
			return err
		}
	}
	w.store.arrange()
	return nil
}

// launch makes the cheapest machine that a claim allows.
func (w *world) launch(ctx context.Context, claim *scheduling.NodeClaim) (string, error) {
	best, price := fleetNode{}, 0.0
	for _, each := range claim.InstanceTypeOptions {
		for _, place := range each.Offerings.Available().Compatible(claim.Requirements) {
			if best.Type == "" || place.Price < price {
				price = place.Price
				best = fleetNode{
					Pool: claim.NodePoolName, Type: each.Name,
					Zone:         place.Requirements.Get(corev1.LabelTopologyZone).Any(),
					CapacityType: place.Requirements.Get(v1.CapacityTypeLabelKey).Any(),
				}
			}
		}
	}
	if best.Type == "" {
		return "", fmt.Errorf("no offering for %d types: %v", len(claim.InstanceTypeOptions), claim.Requirements)
	}
	w.made++
	best.Name = fmt.Sprintf("made-%05d", w.made)
	return best.Name, w.add(ctx, best)
}

func (w *world) cost() float64 {
	total := 0.0
	for _, node := range w.store.nodes {
		for _, place := range w.types[node.Labels[corev1.LabelInstanceTypeStable]].Offerings {
			if place.Requirements.Get(corev1.LabelTopologyZone).Has(node.Labels[corev1.LabelTopologyZone]) &&
				place.Requirements.Get(v1.CapacityTypeLabelKey).Has(node.Labels[v1.CapacityTypeLabelKey]) {
				total += place.Price
				break
			}
		}
	}
	return total
}

// store answers for pods and nodes as informers do, from memory and with copies; for all else it is the fake client,
// whose own lists would take most of the time. It counts simulations, of which each looks at the disruption budgets once.
type store struct {
	client.Client
	pods        map[string]*corev1.Pod
	nodes       map[string]*corev1.Node
	listed      []*corev1.Pod
	on          map[string][]*corev1.Pod
	simulations int
}

func newStore(other client.Client) *store {
	return &store{Client: other, pods: map[string]*corev1.Pod{}, nodes: map[string]*corev1.Node{}}
}

// arrange must follow every change of pods.
func (s *store) arrange() {
	s.listed, s.on = s.listed[:0], map[string][]*corev1.Pod{}
	for _, pod := range s.pods {
		s.listed = append(s.listed, pod)
	}
	slices.SortFunc(s.listed, func(a, b *corev1.Pod) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	for _, pod := range s.listed {
		s.on[pod.Spec.NodeName] = append(s.on[pod.Spec.NodeName], pod)
	}
}

func (s *store) Get(ctx context.Context, key client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	if node, asked := into.(*corev1.Node); asked {
		if found, there := s.nodes[key.Name]; there {
			found.DeepCopyInto(node)
			return nil
		}
	}
	return s.Client.Get(ctx, key, into, opts...)
}

func (s *store) List(ctx context.Context, into client.ObjectList, opts ...client.ListOption) error {
	switch list := into.(type) {
	case *corev1.PodList:
		return s.listPods(list, opts...)
	case *policyv1.PodDisruptionBudgetList:
		s.simulations++
	case *corev1.NodeList:
		for _, node := range s.nodes {
			list.Items = append(list.Items, *node.DeepCopy())
		}
		return nil
	}
	return s.Client.List(ctx, into, opts...)
}

func (s *store) listPods(list *corev1.PodList, opts ...client.ListOption) error {
	options := (&client.ListOptions{}).ApplyOptions(opts)
	pods := s.listed
	if options.FieldSelector != nil {
		if name, exact := options.FieldSelector.RequiresExactMatch("spec.nodeName"); exact {
			pods = s.on[name]
		}
	}
	for _, pod := range pods {
		if options.Namespace != "" && options.Namespace != pod.Namespace {
			continue
		}
		if options.LabelSelector == nil || options.LabelSelector.Matches(labels.Set(pod.Labels)) {
			list.Items = append(list.Items, *pod.DeepCopy())
		}
	}
	return nil
}
