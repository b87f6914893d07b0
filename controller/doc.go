// Package controller knows how a DPC member reacts.
//
// Core decides: a step function without I/O, clock or goroutine. Events come
// in (documents of one revision, a session or a stream with another member that opens,
// speaks or ends, a tick) and effects come out (messages to send, sessions to end), always the same ones
// for the same events. It holds the world, what each session was assigned and
// sent (resolver.Interest) and who acknowledged what (control.Ledger).
//
// To one host, the messages of one revision travel in one batch: first the pairs
// that the rest needs (Expect), then what is taken away (Unassign), what is given
// (Assign, Tunnels, Update), and the Frontier. A host that a revision does not concern hears nothing of it.
//
// The flows of an endpoint that moves are asked of the host that it moves from as
// soon as both hosts have its port as its bindings want it, until the other host says that
// it has them; what is carried is checked to be the endpoint's and handed on.
//
// Members tell each other which hosts have a session with them and how far those
// are (control.Across). A host has one session with all of them, a receipt is complete
// when all say so, and what concerns a host of another member goes through that. A
// member that has lost touch with its store answers nobody; it sends its sessions
// elsewhere, as one that is drained or has too many does, and admits those who come once it
// is well.
//
// What hosts do now is asked through their sessions (Asked) and told to who asked
// (Told) without being kept. The Core only leads questions and answers to each
// other; what an answer is worth is decided outside it, by the world of the moment:
// a host speaks for flows of its own endpoints and for no others.
//
// A session opens in parts: what a dSwitch holds is compared some rows at a time, and
// what changes meanwhile is told with the rest.
//
// Member acts: it publishes each world with the History that led to it (Changes);
// whoever has an event takes its turn with the Core, and never blocks meanwhile. Turns go
// round among kinds of work, and among questions by tenant and session; sessions, the
// store's watch and the API send to it and read immutable worlds. Edits that wait at the
// same time are committed as one transaction. Member
// declares the Store that it needs.
//
// The package knows no etcd, no TLS and no HTTP.
package controller
