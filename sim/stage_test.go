package sim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dove.network/dove"
	"dove.network/scenario"
)

// skipped lists, for each level, the kinds of steps that it has no means for.
// Whatever else is skipped is a fault, unless it is on paper while something is
// stopped or cut.
var skipped = map[string][]string{
	"oracle": {"expect matrix", "forge", "kill", "stop", "start", "cut", "heal"},
	"table":  {"forge", "kill", "stop", "start", "cut", "heal"},
	"soft":   nil,
}

// scenarios reads all files, by name.
func scenarios(t *testing.T) map[string]*scenario.Scenario {
	t.Helper()
	files, err := filepath.Glob("../scenarios/*.dove")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d scenarios: %v", len(files), err)
	}
	all := map[string]*scenario.Scenario{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if all[strings.TrimSuffix(filepath.Base(file), ".dove")], err = scenario.Parse(text); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	return all
}

// TestScenarios runs every scenario at every level.
func TestScenarios(t *testing.T) {
	for name, s := range scenarios(t) {
		for _, level := range Levels {
			t.Run(name+"/"+level, func(t *testing.T) {
				t.Parallel()
				stage, err := NewStage(level, s)
				if err != nil {
					t.Fatal(err)
				}
				var meant, seen []string
				for _, step := range s.Steps {
					if cannot(level, step.Action) {
						meant = append(meant, fmt.Sprintf("%d: %s", step.Line, step.Action))
					}
				}
				var outage scenario.Outage
				doubtful := map[string]bool{} // flows that were opened meanwhile
				tally := scenario.Run(t.Context(), s, stage, func(step scenario.Step, _ string, err error) {
					outage.Follow(step.Action)
					if f, ok := step.Action.(scenario.OpenFlow); ok && outage.Any() != "" {
						doubtful[f.Name] = true
					}
					f, _ := step.Action.(scenario.ExpectFlow)
					switch {
					case errors.Is(err, scenario.ErrCannot) && level != "soft" && !cannot(level, step.Action) && (outage.Any() != "" || doubtful[f.Name]):
					case errors.Is(err, scenario.ErrCannot):
						seen = append(seen, fmt.Sprintf("%d: %s", step.Line, step.Action))
					case err != nil:
						t.Errorf("line %d: %s\n%v", step.Line, step.Action, err)
					}
				})
				if diff := cmp.Diff(meant, seen); diff != "" {
					t.Errorf("skipped steps, meant -, seen +:\n%s", diff)
				}
				if tally.Held+tally.Failed+tally.Skipped != len(s.Steps) {
					t.Errorf("%+v of %d steps", tally, len(s.Steps))
				}
			})
		}
	}
}

func cannot(level string, a scenario.Action) bool {
	if e, ok := a.(scenario.Expect); ok && e.Outcome == scenario.TooBig && level != "soft" {
		return true
	}
	return slices.ContainsFunc(skipped[level], func(kind string) bool { return strings.HasPrefix(a.String(), kind) })
}

// TestStagesNotice turns every expectation of every scenario into its opposite:
// each must fail, at each level that can carry it out.
func TestStagesNotice(t *testing.T) {
	for name, s := range scenarios(t) {
		for _, level := range Levels {
			t.Run(name+"/"+level, func(t *testing.T) {
				t.Parallel()
				stage, err := NewStage(level, s)
				if err != nil {
					t.Fatal(err)
				}
				for _, step := range s.Steps {
					for _, wrong := range opposites(step.Action) {
						if _, err := stage.Do(t.Context(), wrong); err == nil {
							t.Errorf("line %d: %q held as well as %q", step.Line, wrong, step.Action)
						}
					}
					if _, err := stage.Do(t.Context(), step.Action); err != nil && !errors.Is(err, scenario.ErrCannot) {
						t.Errorf("line %d, after the opposite: %v", step.Line, err)
					}
				}
			})
		}
	}
}

// opposites returns expectations that cannot hold if the given one does.
func opposites(a scenario.Action) []scenario.Action {
	switch a := a.(type) {
	case scenario.Expect:
		if a.Outcome == scenario.TooBig { // in pieces it may be allowed or denied
			a.Size = scenario.SizeMin
			return []scenario.Action{a}
		}
		var out []scenario.Action
		for o := range scenario.NoReply + 1 {
			if o == scenario.TooBig {
				continue
			}
			if wrong := a; o != a.Outcome {
				wrong.Outcome, wrong.Rule = o, ""
				out = append(out, wrong)
			}
		}
		if a.Rule != "" {
			wrong := a
			wrong.Rule = "shop/another"
			out = append(out, wrong)
		}
		if a.Log != scenario.AnyTells {
			wrong := a
			wrong.Log = scenario.Logged + scenario.Unlogged - a.Log
			out = append(out, wrong)
		}
		for w := scenario.WouldNothing; a.Would != scenario.AnyWould && w <= scenario.WouldDeny; w++ {
			if wrong := a; w != a.Would {
				wrong.Would = w
				out = append(out, wrong)
			}
		}
		if a.Shadow != "" {
			a.Shadow = "shop/another"
			out = append(out, a)
		}
		return out
	case scenario.ExpectFlow:
		a.Passes = !a.Passes
		return []scenario.Action{a}
	case scenario.Forge:
		a.Reason = "malformed"
		return []scenario.Action{a}
	case scenario.Refuse:
		other := a
		other.Kind = dove.Internal
		a.Fragments = append(slices.Clone(a.Fragments), "nobody says this")
		return []scenario.Action{other, a}
	}
	return nil
}
