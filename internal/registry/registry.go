// Package registry maps the "type" of a JSON object to the constructor of that
// kind. Each key source and each health check is one file that adds itself;
// nothing else in the program lists them.
package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Kinds holds the known kinds of T by name. The zero value is ready to use. It
// is filled by init functions and only read after that.
type Kinds[T any] struct {
	open map[string]func(json.RawMessage) (T, error)
}

// Add makes a kind known. Its settings S are decoded strictly, so a field that
// S does not have is an error that names the field. Adding a name twice panics:
// both are compiled in, and only the programmer can choose.
func Add[T, S any](k *Kinds[T], name string, open func(S) (T, error)) {
	if k.open == nil {
		k.open = map[string]func(json.RawMessage) (T, error){}
	}
	if _, ok := k.open[name]; ok {
		panic("registry: kind added twice: " + name)
	}
	k.open[name] = func(raw json.RawMessage) (t T, err error) {
		var s S
		if err := Strict(raw, &s); err != nil {
			return t, err
		}
		return open(s)
	}
}

// Open makes the kind that raw's "type" names from the rest of raw's fields.
func (k *Kinds[T]) Open(raw json.RawMessage) (t T, err error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return t, errors.New("want an object with a \"type\"")
	}
	var name string
	if err := json.Unmarshal(fields["type"], &name); err != nil || name == "" {
		return t, fmt.Errorf("\"type\" is missing (one of %s)", strings.Join(k.Names(), ", "))
	}
	open, ok := k.open[name]
	if !ok {
		return t, fmt.Errorf("unknown type %q%s (one of %s)", name, DidYouMean(name, k.Names()), strings.Join(k.Names(), ", "))
	}
	delete(fields, "type")
	rest, err := json.Marshal(fields)
	if err != nil {
		return t, err
	}
	return open(rest)
}

// Names gives the known kinds, sorted.
func (k *Kinds[T]) Names() []string { return slices.Sorted(maps.Keys(k.open)) }

// Strict decodes raw into v and refuses unknown fields, naming the nearest
// known one, and anything after the value.
func Strict(raw []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return explain(err, v)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is text after the JSON value")
	}
	return nil
}
