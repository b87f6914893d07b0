package scenario

import "strings"

// Narrate returns the text of a scenario with what was said of each step below
// it, in the order of s.Steps. The text must be the one that s was parsed from.
func Narrate(text []byte, s *Scenario, says []string) []byte {
	below := map[int]string{} // by the last line of a step
	for i, step := range s.Steps {
		if i < len(says) {
			below[step.Line+strings.Count(step.Action.String(), "\n")] = says[i]
		}
	}
	var w strings.Builder
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		w.WriteString(strings.TrimRight(line, "\r\n") + "\n")
		if said := below[number]; said != "" {
			w.WriteString("    > " + strings.ReplaceAll(said, "\n", "\n    > ") + "\n")
		}
	}
	return []byte(w.String())
}
