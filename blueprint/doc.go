// Package blueprint knows a tenant's intent as a document: it parses YAML or
// JSON, reports every fault at once with its line, puts a document in canonical
// order and compares two of them.
//
// Parse turns text into a Blueprint or a *dove.Error with all faults. Check
// looks at a Blueprint together with the others of its domain and the networks
// that exist (a Context), where names may cross documents. Inside the system a
// checked Blueprint is trusted.
//
// The package knows nothing of endpoints, hosts, classes or tables.
package blueprint
