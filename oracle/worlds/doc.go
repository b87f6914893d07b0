// Package worlds makes random intent for tests: small worlds full of the cases
// that break policy code. Their policies overlap and contradict each other,
// ports lie at and beside edges, groups are isolated or shared by endpoints, and
// blueprints name each other's groups.
//
// Random draws a World from a seeded source; equal seeds give equal worlds.
// Every blueprint in it is canonical and can be written as text, applied in
// order, and read back. Probes lists what is worth asking about it.
//
// The package knows nothing of tables, hosts or answers: ask package oracle.
package worlds
