package kubernetes

import (
	"maps"
	"slices"
	"strings"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/imports"
)

const (
	networkingV1   = "networking.k8s.io/v1"
	policyV1alpha1 = "policy.networking.k8s.io/v1alpha1"
)

// translation is a text on its way into blueprints.
type translation struct {
	imports.Faults
	at imports.Source // the document that faults are about

	tenant, provider, baseline *imports.Draft

	seen       map[string]int // line of each object by kind and name
	namespaces map[string]map[string]string
	pods       []pod
	ports      []map[string]string // of each
}

// Translate reads objects, one a document or in lists as kubectl prints them. The
// error is a *dove.Error with every fault.
func Translate(o imports.Options, text []byte) (imports.Translation, error) {
	if err := o.Check(); err != nil {
		return imports.Translation{}, err
	}
	t := &translation{
		provider:   imports.NewDraft(o, "-admin", blueprint.Provider),
		baseline:   imports.NewDraft(o, "-baseline", blueprint.Baseline),
		tenant:     imports.NewDraft(o, "", blueprint.Tenant),
		seen:       map[string]int{},
		namespaces: map[string]map[string]string{},
	}
	pods := selected(t.tenant, allPods)
	pods.Egress, pods.Ingress = blueprint.DefaultAllow, blueprint.DefaultAllow
	for _, s := range imports.Sources(text, &t.Faults) {
		t.object(s)
	}
	var out imports.Translation
	for i, p := range t.pods {
		e, err := Endpoint(namespaceOf(p.Metadata), p.Metadata.Name, t.namespaces[namespaceOf(p.Metadata)], p.Metadata.Labels, t.ports[i])
		if err != nil {
			t.Add(dove.Invalid, t.seen["Pod "+e.Name], "Pod "+e.Name, "", "%v", err)
		}
		out.Endpoints = append(out.Endpoints, e)
	}
	if err := t.Err("the text"); err != nil {
		return imports.Translation{}, err
	}
	for _, draft := range []*imports.Draft{t.provider, t.baseline, t.tenant} {
		d, err := draft.Document()
		if err != nil {
			return imports.Translation{}, err
		}
		out.Documents = append(out.Documents, d)
	}
	return out, nil
}

// object reads one object, or the items of a list.
func (t *translation) object(s imports.Source) {
	version, kind := s.Word("apiVersion"), s.Word("kind")
	t.at = s
	switch version + " " + kind {
	case networkingV1 + " NetworkPolicy":
		var p networkPolicy
		if s.Decode(&p, true, &t.Faults) && t.named(kind, p.header, true) {
			t.networkPolicy(p)
		}
	case policyV1alpha1 + " AdminNetworkPolicy", policyV1alpha1 + " BaselineAdminNetworkPolicy":
		var p adminNetworkPolicy
		if s.Decode(&p, true, &t.Faults) && t.named(kind, p.header, false) {
			t.adminPolicy(p, kind == "AdminNetworkPolicy")
		}
	case "v1 Namespace":
		var n namespace
		if s.Decode(&n, true, &t.Faults) && t.named(kind, n.header, false) {
			t.namespaces[n.Metadata.Name] = n.Metadata.Labels
		}
	case "v1 Pod":
		var p pod
		if s.Decode(&p, false, &t.Faults) && t.named(kind, p.header, true) {
			t.pods = append(t.pods, p)
			t.ports = append(t.ports, t.namedPorts(p))
		}
	case "v1 List", networkingV1 + " NetworkPolicyList", "v1 PodList", "v1 NamespaceList",
		policyV1alpha1 + " AdminNetworkPolicyList", policyV1alpha1 + " BaselineAdminNetworkPolicyList":
		for _, item := range s.Items("items", &t.Faults) {
			t.object(item)
		}
	default:
		t.Add(dove.Invalid, s.Line, "", "NetworkPolicy of "+networkingV1+", AdminNetworkPolicy and BaselineAdminNetworkPolicy of "+policyV1alpha1+", Namespace and Pod of v1 can be, and lists of them",
			"%q of %q cannot be translated", kind, version)
	}
}

// named checks the name of an object, of which there may be one of its kind.
func (t *translation) named(kind string, h header, inNamespace bool) bool {
	if h.Metadata.Name == "" {
		t.Add(dove.Invalid, t.at.Line, kind, "write metadata.name", "it has no name")
		return false
	}
	key := kind + " " + h.Metadata.Name
	if inNamespace {
		key = kind + " " + namespaceOf(h.Metadata) + "/" + h.Metadata.Name
	} else if h.Metadata.Namespace != "" {
		t.Add(dove.Invalid, t.at.Line, key, "leave metadata.namespace out", "a %s is in no namespace", kind)
		return false
	}
	if line, twice := t.seen[key]; twice {
		t.Add(dove.Invalid, t.at.Line, key, "leave one out", "it is there twice, first in line %d", line)
		return false
	}
	t.seen[key] = t.at.Line
	return true
}

func namespaceOf(m metadata) string {
	if m.Namespace == "" {
		return "default"
	}
	return m.Namespace
}

// namedPorts lists the named ports of a pod.
func (t *translation) namedPorts(p pod) map[string]string {
	path := join("Pod", p.Metadata, true)
	all := map[string]string{}
	for _, c := range p.Spec.Containers {
		for _, x := range c.Ports {
			if x.Name == "" {
				continue
			}
			protocol, ok := t.protocol(path, x.Protocol)
			if len(t.namedPort(path, protocol, x.Name)) == 0 || !ok {
				continue
			}
			for _, number := range t.portRange(path, protocol, x.ContainerPort, x.ContainerPort) {
				if is, taken := all[x.Name]; taken && is != number.String() {
					t.Add(dove.Unsupported, t.at.Line, path, "give one of them another name", "port %q is %s and %s: an endpoint has one port of a name", x.Name, is, number)
				}
				all[x.Name] = number.String()
			}
		}
	}
	return all
}

// protocol reads a protocol, TCP if nothing is said.
func (t *translation) protocol(path, s string) (dove.Protocol, bool) {
	switch s {
	case "", "TCP":
		return dove.ProtocolTCP, true
	case "UDP":
		return dove.ProtocolUDP, true
	case "SCTP":
		return dove.ProtocolSCTP, true
	}
	t.Add(dove.Invalid, t.at.Line, path, "write TCP, UDP or SCTP", "%q is no protocol", s)
	return 0, false
}

// isPod is met by endpoints that are pods: they are in some namespace.
var isPod = blueprint.Requirement{Key: NamespaceLabel(NamespaceName), Operator: blueprint.Exists}

// allPods selects every pod.
var allPods = blueprint.Selector{Requirements: []blueprint.Requirement{isPod}}

// selected returns the group of the pods that a selector selects.
func selected(draft *imports.Draft, s blueprint.Selector) *blueprint.Group {
	if s.String() == allPods.String() {
		g := draft.Group("pods")
		g.Selector = new(allPods)
		return g
	}
	var words []string
	for _, r := range s.Requirements {
		key := r.Key[strings.LastIndexByte(r.Key, '/')+1:]
		if strings.HasSuffix(r.Key, NamespaceName) {
			key = "namespace"
		}
		switch {
		case r.Operator == blueprint.NotIn:
			key += "-not"
		case r.Operator == blueprint.DoesNotExist:
			key = "no-" + key
		case r.Key == isPod.Key && r.Operator == blueprint.Exists:
			continue
		}
		words = append(append(words, key), r.Values...)
	}
	return draft.Selected(strings.Join(words, "-"), s)
}

// podsIn reads what selects pods: those of one namespace, if it is named, else
// those in namespaces that a selector selects.
func (t *translation) podsIn(path, namespace string, namespaces *labelSelector, pods *labelSelector) blueprint.Selector {
	var s blueprint.Selector
	if namespaces == nil {
		s.Requirements = append(s.Requirements, blueprint.Requirement{Key: NamespaceLabel(NamespaceName), Values: []string{namespace}})
	} else {
		s.Requirements = t.requirements(path+".namespaceSelector", *namespaces, func(key string) string { return NamespaceLabel(key) })
	}
	asks := func(r blueprint.Requirement) bool {
		return r.Operator == blueprint.In || r.Operator == blueprint.Exists
	}
	if !slices.ContainsFunc(s.Requirements, asks) { // or others than pods would meet it
		s.Requirements = append(s.Requirements, isPod)
	}
	if pods != nil {
		s.Requirements = append(s.Requirements, t.requirements(path+".podSelector", *pods, func(key string) string {
			if reserved(key) {
				t.Add(dove.Invalid, t.at.Line, path, "choose another key", "label %q of pods would be taken for one of their namespace", key)
			}
			return key
		})...)
	}
	if len(s.Requirements) > blueprint.LabelsMax {
		t.Add(dove.TooLarge, t.at.Line, path, "", "%d requirements select pods, at most %d are allowed", len(s.Requirements), blueprint.LabelsMax)
	}
	return s
}

// requirements reads a selector, whose keys become those of endpoints.
func (t *translation) requirements(path string, s labelSelector, key func(string) string) []blueprint.Requirement {
	var all []blueprint.Requirement
	for _, k := range slices.Sorted(maps.Keys(s.MatchLabels)) {
		all = append(all, blueprint.Requirement{Key: key(k), Values: []string{s.MatchLabels[k]}})
	}
	for _, e := range s.MatchExpressions {
		values := slices.Sorted(slices.Values(e.Values))
		r := blueprint.Requirement{Key: key(e.Key), Values: slices.Compact(values)}
		wanted := true
		switch e.Operator {
		case "In":
			r.Operator = blueprint.In
		case "NotIn":
			r.Operator = blueprint.NotIn
		case "Exists":
			r.Operator, wanted = blueprint.Exists, false
		case "DoesNotExist":
			r.Operator, wanted = blueprint.DoesNotExist, false
		default:
			t.Add(dove.Invalid, t.at.Line, path, "write In, NotIn, Exists or DoesNotExist", "%q is no operator", e.Operator)
			continue
		}
		if wanted != (len(values) > 0) {
			t.Add(dove.Invalid, t.at.Line, path, "In and NotIn take values, the others take none", "operator %s with %d values", e.Operator, len(values))
		}
		all = append(all, r)
	}
	for _, r := range all {
		for _, v := range append([]string{""}, r.Values...) {
			if err := blueprint.CheckLabel(r.Key, v); err != nil {
				t.Add(dove.Invalid, t.at.Line, path, "", "%v", err)
			}
		}
	}
	return all
}

// join makes the path of a part of an object.
func join(kind string, m metadata, inNamespace bool) string {
	if inNamespace {
		return strings.Join([]string{kind, namespaceOf(m) + "/" + m.Name}, " ")
	}
	return kind + " " + m.Name
}
