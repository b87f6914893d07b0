// Package dove holds the vocabulary that every other package speaks: tenants,
// networks, groups, endpoints, hosts, classes and revisions as small comparable
// values, and the few kinds of error that cross a boundary.
//
// Values are plain: they parse, print and compare, and they can be map keys.
// Names are checked where they enter the system (CheckName, ParseMAC, ...);
// inside, a value is trusted.
//
// The package imports nothing of ours and knows nothing of documents, packets,
// sockets or stores.
package dove
