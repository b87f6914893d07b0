// Package packet knows headers as bytes: what a guest's Ethernet frame asks for,
// and the outer Ethernet, IPv4, UDP and VXLAN-GBP headers that carry it between
// hosts.
//
// Parse reads a frame into a Packet, a small value without pointers into the
// frame, and says with a Fault why it is not carried. Decap and Outer.Encap read
// and write the overlay. TCP, UDP, EchoRequest, ARPRequest, Solicitation and the
// like build whole frames with right checksums, and Answer builds the reply to
// an ARP request or neighbour solicitation, TooBig the ICMP message to whom sends
// more than an MTU. A Packet says of a fragment which piece it is, and of an ICMP
// error which flow it is about.
//
// Everything is a pure function of its arguments. Parse and Decap never panic and
// never allocate, whatever the bytes. The package knows no ports, peers, policies
// or sockets: whether a well-formed packet may pass is not its affair.
package packet
