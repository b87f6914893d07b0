// Package openstack translates security groups of OpenStack's Neutron, as its API
// prints them, into a blueprint.
//
// A security group is an isolated group, and stateless if it says so; each rule is
// a policy of one side that allows. The text has security_groups with their rules
// (or security_group_rules beside them), address_groups, and ports, which say
// which endpoint is in which groups; several texts may follow one another.
//
// A rule is of one family of addresses. One that names a remote group stands for
// both in a blueprint, so it is refused unless the group has the same rule of
// the other family, or what it is about has only one.
//
// What is refused: fields that Neutron did not have, rules about groups that the text does not
// have, port ranges of protocols other than TCP, UDP and SCTP, and protocols that
// switches do not carry.
package openstack
