package blueprint

import _ "embed"

// SchemaID is the name of the schema, the $id in it.
const SchemaID = "https://dove.network/schemas/blueprint/v1"

//go:embed schema.json
var schema string

// Schema returns the shape of a document as JSON Schema 2020-12, with texts that
// editors show. What it refuses, Parse refuses, too; Parse also sees what no
// schema can: repeated keys, names that nothing has, ranges and subnets that are
// sound in form only, traffic said twice. The same text is published by every
// DPC. The caller may change what it gets.
func Schema() []byte { return []byte(schema) }
