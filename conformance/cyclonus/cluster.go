package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/mattfenwick/cyclonus/pkg/worker"
	v1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"dove.network/dove"
	"dove.network/imports"
	"dove.network/imports/kubernetes"
)

// What the cluster is in DOVE.
const (
	tenant = dove.Tenant("k8s")
	domain = "cluster"
)

// cluster is a Kubernetes as cyclonus drives it. What it is told is kept and,
// before the next question, brought to the world.
type cluster struct {
	ctx   context.Context // of the run: cyclonus hands none on
	world world

	mu         sync.Mutex
	namespaces map[string]*namespace
	changed    bool
	told       map[cell][]answer // in the order of the questions
}

type namespace struct {
	labels   map[string]string
	policies map[string]networkingv1.NetworkPolicy
	services map[string]v1.Service
	pods     map[string]v1.Pod
}

// world is where pods are.
type world interface {
	// start gives a pod its address and lets it serve.
	start(ctx context.Context, pod *v1.Pod, labels map[string]string) error
	// relabel changes the labels of a pod's endpoint.
	relabel(ctx context.Context, pod v1.Pod, labels map[string]string) error
	stop(ctx context.Context, pod v1.Pod) error
	// enforce returns once the documents are what packets meet.
	enforce(ctx context.Context, documents []imports.Document) error
	// ask answers the questions of one pod in their order.
	ask(ctx context.Context, from string, questions []worker.Request) ([]answer, error)
}

func newCluster(ctx context.Context, w world) *cluster {
	return &cluster{ctx: ctx, world: w, namespaces: map[string]*namespace{}, changed: true, told: map[cell][]answer{}}
}

func (c *cluster) in(name string) (*namespace, error) {
	ns, ok := c.namespaces[name]
	if !ok {
		return nil, fmt.Errorf("namespace %s is not there", name)
	}
	return ns, nil
}

// labelsOf are those that the endpoint of a pod carries.
func (c *cluster) labelsOf(pod v1.Pod) (map[string]string, error) {
	ns, err := c.in(pod.Namespace)
	if err != nil {
		return nil, err
	}
	return kubernetes.Labels(pod.Namespace, ns.labels, pod.Labels)
}

func (c *cluster) CreateNamespace(n *v1.Namespace) (*v1.Namespace, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, there := c.namespaces[n.Name]; there {
		return nil, fmt.Errorf("namespace %s is there", n.Name)
	}
	c.namespaces[n.Name] = &namespace{maps.Clone(n.Labels), map[string]networkingv1.NetworkPolicy{}, map[string]v1.Service{}, map[string]v1.Pod{}}
	return n, nil
}

func (c *cluster) GetNamespace(name string) (*v1.Namespace, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ns, err := c.in(name)
	if err != nil {
		return nil, err
	}
	out := &v1.Namespace{}
	out.Name, out.Labels = name, maps.Clone(ns.labels)
	if out.Labels == nil {
		out.Labels = map[string]string{}
	}
	out.Labels[kubernetes.NamespaceName] = name
	return out, nil
}

func (c *cluster) GetAllNamespaces() (*v1.NamespaceList, error) {
	c.mu.Lock()
	names := slices.Sorted(maps.Keys(c.namespaces))
	c.mu.Unlock()
	var out v1.NamespaceList
	for _, name := range names {
		n, err := c.GetNamespace(name)
		if err != nil {
			return nil, err
		}
		out.Items = append(out.Items, *n)
	}
	return &out, nil
}

func (c *cluster) SetNamespaceLabels(name string, labels map[string]string) (*v1.Namespace, error) {
	c.mu.Lock()
	ns, err := c.in(name)
	if err == nil && !maps.Equal(ns.labels, labels) {
		ns.labels = maps.Clone(labels)
		for _, pod := range ns.pods {
			err = errors.Join(err, c.relabel(pod))
		}
	}
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return c.GetNamespace(name)
}

func (c *cluster) relabel(pod v1.Pod) error {
	labels, err := c.labelsOf(pod)
	if err != nil {
		return err
	}
	return c.world.relabel(c.ctx, pod, labels)
}

func (c *cluster) DeleteNamespace(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	ns, err := c.in(name)
	if err != nil {
		return err
	}
	for _, pod := range ns.pods {
		err = errors.Join(err, c.world.stop(c.ctx, pod))
	}
	delete(c.namespaces, name)
	c.changed = true
	return err
}

// put keeps a policy; there says whether one of its name has to be there.
func (c *cluster) put(p *networkingv1.NetworkPolicy, there bool) (*networkingv1.NetworkPolicy, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ns, err := c.in(p.Namespace)
	if err != nil {
		return nil, err
	}
	if _, is := ns.policies[p.Name]; is != there {
		return nil, fmt.Errorf("policy %s/%s: there is one: %t", p.Namespace, p.Name, is)
	}
	ns.policies[p.Name], c.changed = *p.DeepCopy(), true
	return p, nil
}

func (c *cluster) CreateNetworkPolicy(p *networkingv1.NetworkPolicy) (*networkingv1.NetworkPolicy, error) {
	return c.put(p, false)
}

func (c *cluster) UpdateNetworkPolicy(p *networkingv1.NetworkPolicy) (*networkingv1.NetworkPolicy, error) {
	return c.put(p, true)
}

func (c *cluster) GetNetworkPoliciesInNamespace(name string) ([]networkingv1.NetworkPolicy, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ns, err := c.in(name)
	if err != nil {
		return nil, err
	}
	return slices.Collect(maps.Values(ns.policies)), nil
}

func (c *cluster) DeleteNetworkPolicy(name, policy string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	ns, err := c.in(name)
	if err == nil {
		delete(ns.policies, policy)
		c.changed = true
	}
	return err
}

func (c *cluster) DeleteAllNetworkPoliciesInNamespace(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	ns, err := c.in(name)
	if err == nil && len(ns.policies) > 0 {
		clear(ns.policies)
		c.changed = true
	}
	return err
}

// Services exist in name only: questions go to pods.

func (c *cluster) CreateService(s *v1.Service) (*v1.Service, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ns, err := c.in(s.Namespace)
	if err == nil {
		ns.services[s.Name] = *s
	}
	return s, err
}

func (c *cluster) GetService(name, service string) (*v1.Service, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ns, err := c.in(name)
	if err != nil {
		return nil, err
	}
	s, ok := ns.services[service]
	if !ok {
		return nil, fmt.Errorf("service %s/%s is not there", name, service)
	}
	return &s, nil
}

func (c *cluster) DeleteService(name, service string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	ns, err := c.in(name)
	if err == nil {
		delete(ns.services, service)
	}
	return err
}

func (c *cluster) GetServicesInNamespace(name string) ([]v1.Service, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ns, err := c.in(name)
	if err != nil {
		return nil, err
	}
	return slices.Collect(maps.Values(ns.services)), nil
}

func (c *cluster) CreatePod(p *v1.Pod) (*v1.Pod, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	pod := p.DeepCopy()
	labels, err := c.labelsOf(*pod)
	if err != nil {
		return nil, err
	}
	if err := c.world.start(c.ctx, pod, labels); err != nil {
		return nil, err
	}
	pod.Status.Phase = v1.PodRunning
	c.namespaces[pod.Namespace].pods[pod.Name], c.changed = *pod, true
	return pod, nil
}

func (c *cluster) GetPod(name, pod string) (*v1.Pod, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ns, err := c.in(name)
	if err != nil {
		return nil, err
	}
	p, ok := ns.pods[pod]
	if !ok {
		return nil, fmt.Errorf("pod %s/%s is not there", name, pod)
	}
	return &p, nil
}

func (c *cluster) GetPodsInNamespace(name string) ([]v1.Pod, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ns, err := c.in(name)
	if err != nil {
		return nil, err
	}
	return slices.Collect(maps.Values(ns.pods)), nil
}

func (c *cluster) SetPodLabels(name, pod string, labels map[string]string) (*v1.Pod, error) {
	p, err := c.GetPod(name, pod)
	if err != nil || maps.Equal(p.Labels, labels) {
		return p, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p.Labels = maps.Clone(labels)
	c.namespaces[name].pods[pod] = *p
	return p, c.relabel(*p)
}

func (c *cluster) DeletePod(name, pod string) error {
	p, err := c.GetPod(name, pod)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.namespaces[name].pods, pod)
	return c.world.stop(c.ctx, *p)
}

// settle brings the policies to the world, once for all that ask.
func (c *cluster) settle() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.changed {
		return nil
	}
	text := []byte("{apiVersion: v1, kind: List, items: []}\n") // a text that says nothing is refused
	for _, name := range slices.Sorted(maps.Keys(c.namespaces)) {
		ns := c.namespaces[name]
		for _, policy := range slices.Sorted(maps.Keys(ns.policies)) {
			p := ns.policies[policy]
			p.APIVersion, p.Kind = "networking.k8s.io/v1", "NetworkPolicy"
			one, err := json.Marshal(p)
			if err != nil {
				return err
			}
			text = append(append(append(text, "---\n"...), one...), '\n')
		}
	}
	translation, err := kubernetes.Translate(imports.Options{Tenant: tenant, Name: domain}, text)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, text)
	}
	if err := c.world.enforce(c.ctx, translation.Documents); err != nil {
		return err
	}
	c.changed = false
	return nil
}

// ExecuteRemoteCommand runs what cyclonus would run in a pod: a batch of questions.
func (c *cluster) ExecuteRemoteCommand(name, pod, _ string, command []string) (stdout, stderr string, failed, err error) {
	if len(command) != 3 || command[1] != "--jobs" {
		return "", "", nil, fmt.Errorf("pods run no %q", strings.Join(command, " "))
	}
	var batch worker.Batch
	if err := json.Unmarshal([]byte(command[2]), &batch); err != nil {
		return "", "", nil, err
	}
	if err := c.settle(); err != nil {
		return "", "", nil, err
	}
	from := name + "/" + pod
	var questions []worker.Request
	for _, r := range batch.Requests {
		questions = append(questions, *r)
	}
	answers, err := c.world.ask(c.ctx, from, questions)
	if err != nil {
		return "", "", nil, err
	}
	var results []*worker.Result
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, r := range batch.Requests {
		result := &worker.Result{Request: r}
		if !answers[i].packet.allowed {
			result.Error = "no answer"
		}
		key := cell{from, r.Host, string(r.Protocol), r.Port}
		c.told[key] = append(c.told[key], answers[i])
		results = append(results, result)
	}
	out, err := json.Marshal(results)
	return string(out), "", nil, err
}

// take returns the answer to the oldest question of a cell that was not taken yet.
func (c *cluster) take(k cell) (answer, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.told[k]
	if len(all) == 0 {
		return answer{}, false
	}
	c.told[k] = all[1:]
	return all[0], true
}
