package agent

import (
	"context"
	"fmt"

	"pullnode/activate"
	"pullnode/internal/state"
)

// rollback goes back to an earlier generation of the history, and holds the node
// there until a commit with another system than the present one.
func (a *Agent) rollback(ctx context.Context, to int) error {
	s := a.Store.State()
	if s.Attempt != nil {
		return fmt.Errorf("a try is under way")
	}
	list, err := a.Store.History(1000)
	if err != nil {
		return err
	}
	var found *state.Entry
	for i := len(list) - 1; i >= 0 && found == nil; i-- {
		e := list[i]
		if e.Result == state.ResultKept && (to == 0 && e.Toplevel != s.Deployed.Toplevel || to != 0 && e.Generation == to) {
			found = &e
		}
	}
	if found == nil {
		return fmt.Errorf("the history has no generation to go back to")
	}
	a.asked = found
	defer func() { a.asked = nil }()
	o, err := a.Activator.Try(ctx, a.newID()+"-rollback", activate.StorePath(found.Toplevel), false)
	if err != nil {
		return err
	}
	away := s.Deployed.Toplevel
	if err := a.record(o); err != nil || o.Name != activate.Kept {
		return err
	}
	a.pending = nil
	return a.Store.Update(func(n *state.State) error {
		n.Deployed.Commit, n.Deployed.Digest = found.Commit, ""
		n.Hold = &state.Hold{Why: fmt.Sprintf("rolled back to generation %d; waiting for a commit with another system", o.Generation), Since: a.Now().UTC(), Toplevel: away}
		return nil
	})
}
