package agent

import (
	"context"
	"fmt"

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
	return a.tryAsked(ctx, found, rollbackTry)
}
