// Package dataplane says what one switch should hold and what it reports, as
// plain values. The agent decides with them; dataplane/soft switches by them in
// memory and dataplane/ebpf in the kernel, and both must give the same Outcome
// for the same packet.
//
// What a switch holds is a State: networks, VTEPs, local ports, resolved peers,
// absent addresses and class pairs, each under its own key. An Op sets or
// removes one of them. Ops are idempotent: setting what is there does nothing,
// removing what is not there is no error. A Switch applies ops in order, and
// when Apply returns, every packet that arrives later is judged by them.
//
// A packet that needs something the switch does not hold becomes a Miss: it
// leaves the fast path with its bytes, and comes back by Inject once the answer
// is there. A packet that shows that this host or its peer may be behind is a Hint,
// and is not held up. A packet that is refused is a Drop with a Reason, and where a table
// refused it, the rule's name.
//
// How tables are laid out (slots, generations, map sizes) is each switch's own
// affair. The package imports none of its subfolders and knows no controller.
package dataplane
