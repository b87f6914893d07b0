// Package imports knows what it takes to bring policy of another language into
// blueprints: what a translation is, how its names are made, and how foreign
// documents are read.
//
// Its subpackages each translate one language: text goes in, a Translation comes
// out, or a *dove.Error that lists every fault. There is one intent, the
// blueprint: what was translated is checked, planned, explained and enforced as
// what a tenant wrote. Nothing is translated half: a word that would be lost is
// refused by name.
//
// The same text always gives the same names, whatever else is imported with it,
// so that importing again changes only what changed.
//
// The packages do no I/O and know nothing of endpoints that exist.
package imports
