package openstack

import (
	"fmt"

	"go.yaml.in/yaml/v4"
)

// What the API prints. Of what describes an object only nothing counts.

type body struct {
	SecurityGroups     []securityGroup     `yaml:"security_groups"`
	SecurityGroup      *securityGroup      `yaml:"security_group"`
	SecurityGroupRules []securityGroupRule `yaml:"security_group_rules"`
	SecurityGroupRule  *securityGroupRule  `yaml:"security_group_rule"`
	AddressGroups      []addressGroup      `yaml:"address_groups"`
	AddressGroup       *addressGroup       `yaml:"address_group"`
	Ports              any                 `yaml:"ports"`
	Port               any                 `yaml:"port"`
}

// portsBody reads of ports what policy can see.
type portsBody struct {
	Ports []neutronPort `yaml:"ports"`
	Port  *neutronPort  `yaml:"port"`
}

type neutronPort struct {
	ID                  string   `yaml:"id"`
	SecurityGroups      []string `yaml:"security_groups"`
	PortSecurityEnabled *bool    `yaml:"port_security_enabled"`
}

type described struct {
	Description    any `yaml:"description"`
	ProjectID      any `yaml:"project_id"`
	TenantID       any `yaml:"tenant_id"`
	CreatedAt      any `yaml:"created_at"`
	UpdatedAt      any `yaml:"updated_at"`
	RevisionNumber any `yaml:"revision_number"`
	Tags           any `yaml:"tags"`
	Shared         any `yaml:"shared"`
	StandardAttrID any `yaml:"standard_attr_id"`
}

type securityGroup struct {
	described `yaml:",inline"`
	ID        string              `yaml:"id"`
	Name      string              `yaml:"name"`
	Stateful  *bool               `yaml:"stateful"`
	IsDefault any                 `yaml:"is_default"`
	Rules     []securityGroupRule `yaml:"security_group_rules"`
}

type securityGroupRule struct {
	described            `yaml:",inline"`
	ID                   string `yaml:"id"`
	SecurityGroupID      string `yaml:"security_group_id"`
	Direction            string `yaml:"direction"`
	EtherType            string `yaml:"ethertype"`
	Protocol             word   `yaml:"protocol"`
	PortRangeMin         *int   `yaml:"port_range_min"`
	PortRangeMax         *int   `yaml:"port_range_max"`
	RemoteIPPrefix       string `yaml:"remote_ip_prefix"`
	RemoteGroupID        string `yaml:"remote_group_id"`
	RemoteAddressGroupID string `yaml:"remote_address_group_id"`
	NormalizedCIDR       any    `yaml:"normalized_cidr"`
	BelongsToDefaultSG   any    `yaml:"belongs_to_default_sg"`
}

type addressGroup struct {
	described `yaml:",inline"`
	ID        string   `yaml:"id"`
	Name      string   `yaml:"name"`
	Addresses []string `yaml:"addresses"`
}

// word is a name or a number, or nothing.
type word string

// UnmarshalYAML takes any scalar.
func (w *word) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode {
		return fmt.Errorf("a protocol is a name or a number")
	}
	if n.ShortTag() != "!!null" {
		*w = word(n.Value)
	}
	return nil
}
