// Package verdict knows what one class may send to another: the two halves of
// a pair, their product as an immutable table of disjoint port intervals, its
// lookup and its digest.
//
// policy makes halves and tables; controllers send tables; switches look
// packets up in them. A Table never changes once made, so it is shared by
// pointer and named by its Digest: equal digests mean equal verdicts, rules
// and names.
//
// Two halves become a table by Product; Encode and Decode carry it between
// programs, and Prefixes turns an interval into keys for prefix tries.
//
// The package knows nothing of blueprints, groups, endpoints or packets.
package verdict
