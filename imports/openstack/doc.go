// Package openstack translates security groups of OpenStack's Neutron, as its API
// prints them, into a blueprint.
//
// A security group is an isolated group, and stateless if it says so; each rule is
// a policy of one side and one family that allows. The text has security_groups with their rules
// (or security_group_rules beside them), address_groups, and ports, which say
// which endpoint is in which groups; several texts may follow one another.
//
// What is refused: fields that Neutron did not have, rules about groups that the text does not
// have, port ranges of protocols other than TCP, UDP and SCTP, and protocols that
// switches do not carry.
package openstack
