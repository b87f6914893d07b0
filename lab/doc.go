// Package lab runs several hosts on one machine: each in a network namespace of
// its own with the real programs, an underlay between them, and guests in
// namespaces that answer with their own name.
//
// A Lab is made from nothing but a name: New sweeps what crashed labs left,
// makes the fabric and a namespace for the DPC; AddHost joins a host; AddGuest
// makes a workload, its endpoint and its device. Probes (TCP, UDP, ping) open
// real connections between guests, and a Matrix compares what came back with what
// the oracle says of the blueprints. Stage plays a scenario, Demo tells the whole
// story. Cut breaks a link of the underlay, by a filter on the fabric's ports. Trial
// strikes members, hosts, cables and disks under load.
//
// The package drives DOVE only as its users do: through the API, the programs'
// flags and the dSwitch's socket. It decides no policy and knows no packet format.
package lab
