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
// The rules, for each half of a pair (the source's egress, the target's ingress):
//   - provider policies come first, in order of priority: allow and deny decide,
//     pass leaves it to the tenant's;
//   - then the tenant's: deny beats allow, whatever the order of policies and
//     blueprints, and members of one group may talk, unless it is isolated;
//   - then a group of this end that denies by default, then baseline policies,
//     then a group that allows by default; else it is denied;
//   - a policy with a side counts at that half only, and one whose time is up, as
//     of the domain's edge, at none;
//   - a half is stateful unless a group of its end is stateless;
//   - the half of an end whose port security is off allows everything: what
//     passes is what the other end's says.
//
// Policies name groups (which endpoints name, or which select them by label),
// outsides (sets of addresses, whoever has them) and any. Of all the prefixes that
// policies mention the longest around an address is part of its signature, and so
// are the numbers of ports that they name.
//
// The package knows nothing of hosts, locations or stores, and must not import
// oracle, which answers the same questions another way.
package policy
