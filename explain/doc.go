// Package explain knows why one endpoint reaches another or not.
//
// Find, and FindSeen as another end sees it, turn what a person writes (an
// endpoint, an address) into an End; Ends does both, and takes an address that nobody has for one. Why looks at two Ends in one World and gives an Answer: the verdict with the rule
// that gave it, where a default denies the rule that came nearest and the terms that
// failed, where both ends are, and what besides policy keeps a packet from
// arriving. It asks the same compiled intent that switches get their tables from.
//
// The package knows no sessions, no switches and no clock: what a host enforces
// at this moment is not its question.
package explain
