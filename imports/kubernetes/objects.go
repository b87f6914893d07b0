package kubernetes

import (
	"fmt"
	"strconv"

	"go.yaml.in/yaml/v4"
)

// The objects as their documents have them. Of what the server adds nothing counts.

type metadata struct {
	Name                       string            `yaml:"name"`
	Namespace                  string            `yaml:"namespace"`
	Labels                     map[string]string `yaml:"labels"`
	Annotations                any               `yaml:"annotations"`
	UID                        any               `yaml:"uid"`
	ResourceVersion            any               `yaml:"resourceVersion"`
	Generation                 any               `yaml:"generation"`
	CreationTimestamp          any               `yaml:"creationTimestamp"`
	DeletionTimestamp          any               `yaml:"deletionTimestamp"`
	DeletionGracePeriodSeconds any               `yaml:"deletionGracePeriodSeconds"`
	Finalizers                 any               `yaml:"finalizers"`
	OwnerReferences            any               `yaml:"ownerReferences"`
	ManagedFields              any               `yaml:"managedFields"`
	GenerateName               any               `yaml:"generateName"`
	SelfLink                   any               `yaml:"selfLink"`
}

type header struct {
	APIVersion string   `yaml:"apiVersion"`
	Kind       string   `yaml:"kind"`
	Metadata   metadata `yaml:"metadata"`
	Status     any      `yaml:"status"`
}

type labelSelector struct {
	MatchLabels      map[string]string `yaml:"matchLabels"`
	MatchExpressions []matchExpression `yaml:"matchExpressions"`
}

type matchExpression struct {
	Key      string   `yaml:"key"`
	Operator string   `yaml:"operator"`
	Values   []string `yaml:"values"`
}

// port is a number or a name.
type port struct {
	number int
	name   string
}

// UnmarshalYAML reads 80 or "http". A number in quotes is a name, as Kubernetes has it.
func (p *port) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode {
		return fmt.Errorf("a port is a number or a name")
	}
	if number, err := strconv.Atoi(n.Value); err == nil && n.ShortTag() == "!!int" {
		p.number = number
		return nil
	}
	p.name = n.Value
	return nil
}

type networkPolicy struct {
	header `yaml:",inline"`
	Spec   networkPolicySpec `yaml:"spec"`
}

type networkPolicySpec struct {
	PodSelector labelSelector `yaml:"podSelector"`
	PolicyTypes []string      `yaml:"policyTypes"`
	Ingress     []ingressRule `yaml:"ingress"`
	Egress      []egressRule  `yaml:"egress"`
}

type ingressRule struct {
	From  []networkPolicyPeer `yaml:"from"`
	Ports []networkPolicyPort `yaml:"ports"`
}

type egressRule struct {
	To    []networkPolicyPeer `yaml:"to"`
	Ports []networkPolicyPort `yaml:"ports"`
}

type networkPolicyPeer struct {
	PodSelector       *labelSelector `yaml:"podSelector"`
	NamespaceSelector *labelSelector `yaml:"namespaceSelector"`
	IPBlock           *ipBlock       `yaml:"ipBlock"`
}

type ipBlock struct {
	CIDR   string   `yaml:"cidr"`
	Except []string `yaml:"except"`
}

type networkPolicyPort struct {
	Protocol string `yaml:"protocol"`
	Port     *port  `yaml:"port"`
	EndPort  *int   `yaml:"endPort"`
}

// adminNetworkPolicy is a BaselineAdminNetworkPolicy, too, which has no priority.
type adminNetworkPolicy struct {
	header `yaml:",inline"`
	Spec   adminNetworkPolicySpec `yaml:"spec"`
}

type adminNetworkPolicySpec struct {
	Priority *int         `yaml:"priority"`
	Subject  adminSubject `yaml:"subject"`
	Ingress  []adminRule  `yaml:"ingress"`
	Egress   []adminRule  `yaml:"egress"`
}

type adminSubject struct {
	Namespaces *labelSelector `yaml:"namespaces"`
	Pods       *namespacedPod `yaml:"pods"`
}

type namespacedPod struct {
	NamespaceSelector labelSelector `yaml:"namespaceSelector"`
	PodSelector       labelSelector `yaml:"podSelector"`
}

type adminRule struct {
	Name   string      `yaml:"name"`
	Action string      `yaml:"action"`
	From   []adminPeer `yaml:"from"`
	To     []adminPeer `yaml:"to"`
	Ports  []adminPort `yaml:"ports"`
}

type adminPeer struct {
	Namespaces  *labelSelector `yaml:"namespaces"`
	Pods        *namespacedPod `yaml:"pods"`
	Nodes       any            `yaml:"nodes"`
	Networks    []string       `yaml:"networks"`
	DomainNames []string       `yaml:"domainNames"`
}

type adminPort struct {
	PortNumber *portNumber `yaml:"portNumber"`
	NamedPort  *string     `yaml:"namedPort"`
	PortRange  *portRange  `yaml:"portRange"`
}

type portNumber struct {
	Protocol string `yaml:"protocol"`
	Port     int    `yaml:"port"`
}

type portRange struct {
	Protocol string `yaml:"protocol"`
	Start    int    `yaml:"start"`
	End      int    `yaml:"end"`
}

type namespace struct {
	header `yaml:",inline"`
	Spec   any `yaml:"spec"`
}

// pod has of a pod what policy can see.
type pod struct {
	header `yaml:",inline"`
	Spec   struct {
		Containers []struct {
			Ports []struct {
				Name          string `yaml:"name"`
				ContainerPort int    `yaml:"containerPort"`
				Protocol      string `yaml:"protocol"`
			} `yaml:"ports"`
		} `yaml:"containers"`
	} `yaml:"spec"`
}
