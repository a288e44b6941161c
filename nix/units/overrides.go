package units

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Override is what a configuration of NixOS says of one unit, as in its option
// systemd.services.<name>.
type Override struct {
	Wants           []string       `json:"wants"`
	Requires        []string       `json:"requires"`
	After           []string       `json:"after"`
	Before          []string       `json:"before"`
	WantedBy        []string       `json:"wantedBy"`
	RequiredBy      []string       `json:"requiredBy"`
	RestartTriggers []string       `json:"restartTriggers"`
	Path            []string       `json:"path"`
	ServiceConfig   map[string]any `json:"serviceConfig"`
	UnitConfig      map[string]any `json:"unitConfig"`
}

// Text is the override as a unit file or a drop-in, of the kind that name ends with,
// as NixOS writes it. Path and RestartTriggers, which are store paths, are left out.
func (o Override) Text(name string) string {
	unit := section("Unit", o.UnitConfig)
	for _, d := range []struct {
		key   string
		units []string
	}{{"Wants", o.Wants}, {"Requires", o.Requires}, {"After", o.After}, {"Before", o.Before}} {
		if len(d.units) > 0 {
			unit += d.key + "=" + strings.Join(d.units, " ") + "\n"
		}
	}
	if strings.HasSuffix(name, ".service") {
		unit += section("Service", o.ServiceConfig)
	}
	if len(o.WantedBy)+len(o.RequiredBy) > 0 {
		unit += "[Install]\n"
	}
	for key, units := range map[string][]string{"WantedBy": o.WantedBy, "RequiredBy": o.RequiredBy} {
		if len(units) > 0 {
			unit += key + "=" + strings.Join(units, " ") + "\n"
		}
	}
	return unit
}

func section(name string, keys map[string]any) string {
	text := "[" + name + "]\n"
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		list, ok := keys[k].([]any)
		if !ok {
			list = []any{keys[k]}
		}
		for _, x := range list {
			text += fmt.Sprintf("%s=%v\n", k, x)
		}
	}
	return text
}
