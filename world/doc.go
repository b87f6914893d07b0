// Package world knows the documents that the store holds and what they mean
// together at one revision.
//
// Documents (Tenant, Blueprint, Network, Endpoint, Host, ...) have keys and a
// JSON codec here and nowhere else. Apply folds the documents of one revision
// into a World and gives the next World and a Delta that says what changed;
// a World never changes, so any goroutine reads it without a lock. A History keeps
// the Deltas of the latest revisions. What can be
// derived is derived here (compiled domains, addresses, endpoints of a host) and
// never stored.
//
// The package knows no sessions, no switches and no store: only keys, bytes and
// revisions come in.
package world
