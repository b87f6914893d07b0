// Package plan knows what a change of intent does to reachability before it is
// made: who could talk then and cannot now, and the reverse, in the words of
// those who wrote the policies.
//
// Compare takes two Worlds, the present one and the one that the change would
// make, and returns a Difference: Lines of traffic that is added or removed, from
// groups to groups, each with the policies that say so before and after and with
// the endpoints and hosts that it touches. A Line stands for every
// pair of endpoints that it names and for no other. Find says which Line is about
// a given flow, so that whoever knows the live flows can count those of each.
//
// Addresses that are alike (one signature before, one after, networks that are
// joined with the same others) are a class; only pairs of classes of which a rule
// changed, or which changed themselves, are judged (policy.Changed and Turned), by the
// same tables as switches get.
//
// A Difference also names hosts that would be Tight: whose switches might have no room for
// the rules. What a host needs depends on who talks, so this is what it needs if all do.
//
// The package knows no documents' texts, no sessions and no flows, and decides
// nothing: whether a change is made is package edit's.
package plan
