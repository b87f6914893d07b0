package policy

import (
	"slices"

	"dove.network/blueprint"
	"dove.network/dove"
)

// selectors are the groups that select their members, indexed by a label that
// a member must have, so that an endpoint is asked about few of them.
type selectors struct {
	byLabel map[label][]selecting
	others  []selecting // that ask for no one label
	texts   map[dove.Group]string
}

type label struct{ key, value string }

type selecting struct {
	group    dove.Group
	selector *blueprint.Selector
}

func (s *selectors) add(g dove.Group, selector *blueprint.Selector) {
	if s.texts == nil {
		s.texts = map[dove.Group]string{}
	}
	s.texts[g] = selector.String()
	for _, r := range selector.Requirements {
		if r.Operator == blueprint.In && len(r.Values) == 1 {
			if s.byLabel == nil {
				s.byLabel = map[label][]selecting{}
			}
			at := label{r.Key, r.Values[0]}
			s.byLabel[at] = append(s.byLabel[at], selecting{g, selector})
			return
		}
	}
	s.others = append(s.others, selecting{g, selector})
}

// of returns the groups that select an endpoint with labels, in no order.
func (s *selectors) of(labels map[string]string) []dove.Group {
	var groups []dove.Group
	ask := func(list []selecting) {
		for _, x := range list {
			if selects(x.selector, labels) {
				groups = append(groups, x.group)
			}
		}
	}
	ask(s.others)
	if s.byLabel != nil {
		for key, value := range labels {
			ask(s.byLabel[label{key, value}])
		}
	}
	return groups
}

// selects reports whether labels meet all requirements of a selector.
func selects(s *blueprint.Selector, labels map[string]string) bool {
	for _, r := range s.Requirements {
		value, has := labels[r.Key]
		met := false
		switch r.Operator {
		case blueprint.In:
			met = has && slices.Contains(r.Values, value)
		case blueprint.NotIn:
			met = !has || !slices.Contains(r.Values, value)
		case blueprint.Exists:
			met = has
		case blueprint.DoesNotExist:
			met = !has
		}
		if !met {
			return false
		}
	}
	return true
}
