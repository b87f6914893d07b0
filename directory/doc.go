// Package directory knows whose an endpoint is: which host may speak for it,
// and which of two messages about it is the newer one.
//
// A Binding is what the store says. May says whether a host may ask as the
// endpoint; Judge says what a host's claim to it is worth. Location follows from bindings
// alone, never from traffic.
//
// The package knows no networks, no policy and no sessions.
package directory
