// Package soft is a dataplane.Switch in memory. It is the readable reference for
// dataplane/ebpf: given the same ops, packets and times both report the same
// Outcome, and dataplane/semantics.md lists what that takes where the contract
// leaves room. The simulator and the agent's tests switch with it.
//
// FromGuest and FromWire take a frame as a port or the underlay received it, and
// return what became of it and the frame that leaves. A frame that misses waits
// in TakeMisses until Inject gives it back; what Inject made of it waits in
// TakeInjected. Counts counts every drop, TakeDrops samples them.
//
// The program in the kernel trusts a flow entry while the generations in it are
// in force. Here is no such thing: every packet is judged by what the switch
// holds now, and a flow entry only says which end began, between which lives of
// endpoints, and how far the conversation got.
//
// The package opens no device, reads no clock but the one it is given, starts no
// goroutine, and knows neither the agent nor the controller.
package soft
