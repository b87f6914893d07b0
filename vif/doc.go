// Package vif knows the network devices of a host that can be ports: veth ends
// and taps, found by netlink in one network namespace.
//
// Watch tells the devices that exist and what changes. Prepare readies a device
// for the switch: the host's own stack must neither speak nor listen on it.
// Underlay finds the device that carries the host's underlay address.
//
// All act in the network namespace of the calling thread. The package does not
// know which device belongs to which endpoint.
package vif
