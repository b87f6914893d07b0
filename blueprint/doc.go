// Package blueprint knows a tenant's intent as a document: it parses YAML or
// JSON, reports every fault at once with its line, puts a document in canonical
// order and compares two of them.
//
// Split parts a text of several documents. Parse turns text into a Blueprint or a *dove.Error with all faults. Check
// looks at a Blueprint together with the others of its tenant and the networks
// that exist (a Context), where names may cross documents; CheckDelete asks the
// same before one goes away. Inside the system a checked Blueprint is trusted.
// Format writes the canonical text, which parses back into an equal Blueprint;
// Compare lists what changed between two versions.
//
// What the language has words for but this version cannot enforce (services,
// rate, ...) is refused by name with kind Unsupported, never accepted
// and ignored.
//
// The package knows nothing of endpoints, hosts, classes or tables.
package blueprint
