package blueprint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"dove.network/dove"
)

// Limits of selectors and labels, those of Kubernetes where it has one.
const (
	LabelsMax       = 64  // labels of one endpoint, requirements of one selector, values of one requirement
	labelNameMax    = 63  // bytes of a value, and of a key after its prefix
	labelPrefixMax  = 253 // bytes of a key before the slash
	selectorExample = "selector: {matchLabels: {app: web}}"
)

// Selector selects endpoints by their labels: those that meet all requirements.
// Requirements are sorted by key, operator and values, each once; there may be none.
type Selector struct{ Requirements []Requirement }

// Requirement is what a selector asks of one label. Values are sorted; only In
// and NotIn have some.
type Requirement struct {
	Key      string
	Operator Operator
	Values   []string
}

// Operator says what a requirement asks, in Kubernetes' words.
type Operator uint8

// The operators. An endpoint without the label meets NotIn and DoesNotExist.
const (
	In Operator = iota
	NotIn
	Exists
	DoesNotExist
)

func (o Operator) String() string { return [...]string{"In", "NotIn", "Exists", "DoesNotExist"}[o] }

// String prints the selector as a blueprint has it.
func (s *Selector) String() string {
	var labels, expressions []string
	for i, r := range s.Requirements {
		// Of several of one key only the first can be among the labels.
		first := i == 0 || s.Requirements[i-1].Key != r.Key
		if first && r.Operator == In && len(r.Values) == 1 {
			labels = append(labels, labelWord(r.Key)+": "+labelWord(r.Values[0]))
			continue
		}
		text := "{key: " + labelWord(r.Key) + ", operator: " + r.Operator.String()
		if len(r.Values) > 0 {
			words := make([]string, len(r.Values))
			for i, v := range r.Values {
				words[i] = labelWord(v)
			}
			text += ", values: [" + strings.Join(words, ", ") + "]"
		}
		expressions = append(expressions, text+"}")
	}
	var fields []string
	if len(labels) > 0 {
		fields = append(fields, "matchLabels: {"+strings.Join(labels, ", ")+"}")
	}
	if len(expressions) > 0 {
		fields = append(fields, "matchExpressions: ["+strings.Join(expressions, ", ")+"]")
	}
	return "{" + strings.Join(fields, ", ") + "}"
}

// labelWord prints a label's key or value so that YAML readers take it for text.
func labelWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || strings.ContainsRune("./_-", r)
	}
	if s == "" || s[0] < 'a' || s[0] > 'z' || strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return `"` + s + `"`
	}
	return word(s)
}

func (r Requirement) compare(o Requirement) int {
	return cmp.Or(strings.Compare(r.Key, o.Key), cmp.Compare(r.Operator, o.Operator), slices.Compare(r.Values, o.Values))
}

// CheckLabel reports whether an endpoint may have a label, as Kubernetes has
// them: a key of a name, perhaps after a DNS name and a slash, and a value that
// may be empty.
func CheckLabel(key, value string) error {
	if err := CheckLabelKey(key); err != nil {
		return err
	}
	return CheckLabelValue(value)
}

// CheckLabelKey reports whether s may be the key of a label.
func CheckLabelKey(s string) error {
	prefix, name, cut := strings.Cut(s, "/")
	if !cut {
		prefix, name = "", s
	}
	labels := strings.Split(prefix, ".")
	sound := !cut || len(prefix) <= labelPrefixMax && !slices.ContainsFunc(labels, func(l string) bool { return dove.CheckName(l) != nil })
	if !sound || name == "" || !labelText(name) {
		return fmt.Errorf("label key %s: write up to %d letters, digits, and inner -, _ and dots, perhaps after a DNS name and a slash", quote(s), labelNameMax)
	}
	return nil
}

// CheckLabelValue reports whether s may be the value of a label.
func CheckLabelValue(s string) error {
	if !labelText(s) {
		return fmt.Errorf("label value %s: write up to %d letters, digits, and inner -, _ and dots", quote(s), labelNameMax)
	}
	return nil
}

func labelText(s string) bool {
	end := func(b byte) bool { return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' }
	if s == "" {
		return true
	}
	for i := range len(s) {
		if !end(s[i]) && !strings.ContainsRune("-_.", rune(s[i])) {
			return false
		}
	}
	return len(s) <= labelNameMax && end(s[0]) && end(s[len(s)-1])
}

var (
	selectorShape = shape{
		what:    "a selector",
		known:   []string{"matchLabels", "matchExpressions"},
		example: selectorExample,
	}
	requirementShape = shape{
		what:    "an expression",
		known:   []string{"key", "operator", "values"},
		example: "- {key: tier, operator: In, values: [a, b]}",
	}
)

// selector reads the selector of a group. Nothing written is no selector of all.
func (p *parser) selector(n node) *Selector {
	s := &Selector{}
	if n.isNull() {
		p.add(dove.Invalid, n.place(), "selector is empty", "write {} for all endpoints, or "+selectorExample)
		return s
	}
	keys, _ := p.fields(n, selectorShape)
	if v, given := keys["matchLabels"]; given {
		labels, _ := p.mapping(v, "matchLabels", "matchLabels: {app: web}")
		p.notEmpty(v, "matchLabels")
		for _, e := range labels {
			p.labelKey(e.key)
			s.Requirements = append(s.Requirements, Requirement{Key: e.name, Values: []string{p.labelValue(e.value)}})
		}
	}
	if v, given := keys["matchExpressions"]; given {
		if v.Kind != yamlSequence && !v.isNull() {
			p.add(dove.Invalid, v.place(), "matchExpressions must be a list, not "+v.sort(), "write "+requirementShape.example)
		}
		p.notEmpty(v, "matchExpressions")
		for _, e := range items(v) {
			s.Requirements = append(s.Requirements, p.requirement(e))
		}
	}
	if len(s.Requirements) > LabelsMax {
		p.add(dove.Invalid, n.place(), fmt.Sprintf("a selector has %d requirements, at most %d are allowed", len(s.Requirements), LabelsMax), "")
	}
	slices.SortFunc(s.Requirements, Requirement.compare)
	s.Requirements = slices.CompactFunc(s.Requirements, func(a, b Requirement) bool { return a.compare(b) == 0 })
	return s
}

// notEmpty refuses a part of a selector that asks for nothing: whoever wrote it
// may not have meant all endpoints.
func (p *parser) notEmpty(n node, part string) {
	if !p.stored && (n.isNull() || n.Kind != yamlScalar && len(n.Content) == 0) {
		p.add(dove.Invalid, n.place(), part+" is empty", "leave it out: selector: {} is all endpoints")
	}
}

func (p *parser) requirement(n node) Requirement {
	var r Requirement
	if n.isNull() {
		p.add(dove.Invalid, n.place(), "an expression must be a mapping, not nothing", "write "+requirementShape.example)
		return r
	}
	keys, ok := p.fields(n, requirementShape)
	if !ok {
		return r
	}
	if v, given := keys["key"]; given {
		r.Key = p.labelKey(v)
	} else {
		p.add(dove.Invalid, n.place(), "an expression has no key", "write "+requirementShape.example)
	}
	if v, given := keys["operator"]; given {
		r.Operator = oneOf(p, v, "operator", In, NotIn, Exists, DoesNotExist)
	} else {
		p.add(dove.Invalid, n.place(), "an expression has no operator", "write operator: In, NotIn, Exists or DoesNotExist")
	}
	values, given := keys["values"]
	listed := given && (values.Kind != yamlSequence || len(values.Content) > 0)
	switch takes := r.Operator == In || r.Operator == NotIn; {
	case takes && !listed:
		p.add(dove.Invalid, n.place(), fmt.Sprintf("an expression with operator %s has no values", r.Operator), "write values: [a, b]")
	case !takes && listed:
		p.add(dove.Invalid, values.place(), fmt.Sprintf("operator %s takes no values", r.Operator), "leave them out")
	case takes:
		for _, e := range p.oneOrMore(values, "values", "values: [a, b]") {
			r.Values = append(r.Values, p.labelValue(e))
		}
	}
	if len(r.Values) > LabelsMax {
		p.add(dove.Invalid, values.place(), fmt.Sprintf("an expression has %d values, at most %d are allowed", len(r.Values), LabelsMax), "")
	}
	slices.Sort(r.Values)
	r.Values = slices.Compact(r.Values)
	return r
}

func (p *parser) labelKey(n node) string {
	s, ok := p.text(n, "a label's key")
	if !ok {
		return ""
	}
	if err := CheckLabelKey(s); err != nil {
		p.add(dove.Invalid, n.place(), err.Error(), "")
	}
	return s
}

func (p *parser) labelValue(n node) string {
	s, ok := p.text(n, "a label's value")
	if !ok {
		return ""
	}
	if err := CheckLabelValue(s); err != nil {
		p.add(dove.Invalid, n.place(), err.Error(), "")
	}
	return s
}
