// Package policy knows what a domain's blueprints mean: which addresses are
// alike (their Signature), and what one may send to the other.
//
// Compile indexes the blueprints of one domain as a Domain, which never
// changes. A Domain gives an address its Signature and a pair of signatures its
// two verdict.Halves, whose product is the pair's Table. A pair costs as much
// as the policies that name its groups, whatever else the domain holds. Pairs
// remembers tables for one owner, and FreeClass chooses the number of a new
// class. Where nothing allows a packet, Nearest says what almost did.
//
// The rules:
//   - nothing passes between groups unless a policy allows it;
//   - members of one group may talk, unless it is isolated;
//   - deny beats allow, whatever the order of policies and blueprints;
//   - an address in no group gets nothing;
//   - policies open both halves, and both are stateful;
//   - the half of an end whose port security is off allows everything: what
//     passes is what the other end's says.
//
// The package knows nothing of hosts, locations or stores, and must not import
// oracle, which answers the same questions another way.
package policy
