package agent

import (
	"context"
	"fmt"
	"path/filepath"

	"pullnode/activate"
	"pullnode/internal/config"
	"pullnode/internal/state"
)

// runs says whether out runs, itself or one of its specialisations: which of
// them is for whoever sits at the machine to choose.
func runs(f activate.Facts, out activate.StorePath) bool {
	if f.Running == out {
		return true
	}
	list, _ := filepath.Glob(filepath.Join(string(out), "specialisation", "*"))
	for _, link := range list {
		if to, err := filepath.EvalSymlinks(link); err == nil && to == string(f.Running) {
			return true
		}
	}
	return false
}

// astray says whether the machine was switched away from what was deployed. With
// the operations boot and test a reboot does that too, so nothing can be said.
func (a *Agent) astray(f activate.Facts, deployed activate.StorePath) bool {
	return f.Running != "" && deployed != "" && !runs(f, deployed) &&
		a.Config.Operation != config.Boot && a.Config.Operation != config.Test
}

// drifted looks, in each cycle, whether the machine still is what was deployed.
func (a *Agent) drifted(ctx context.Context) error {
	s := a.Store.State()
	if a.pending != nil || s.Attempt != nil || s.Deployed.Toplevel == "" {
		return nil
	}
	f, err := a.System.Facts(ctx)
	if err != nil {
		return err
	}
	return a.foreign(f, activate.StorePath(s.Deployed.Toplevel))
}

// foreign holds the node when somebody else switched it away from what was
// deployed: a rebuild by hand stays until a commit with another system, resume or
// retry. Going back by hand ends the hold.
func (a *Agent) foreign(f activate.Facts, out activate.StorePath) error {
	s := a.Store.State()
	if a.resumed || s.Deployed.Toplevel != string(out) {
		return nil
	}
	if _, stuck := s.Quarantine[string(f.Running)]; stuck {
		return nil // it would not go back, and status says so
	}
	switch {
	case !a.astray(f, out):
		if s.Hold == nil || s.Hold.Toplevel != string(out) || !runs(f, out) {
			return nil
		}
		a.Log.Info("the deployed system runs again", "toplevel", out)
		return a.Store.Update(func(s *state.State) error { s.Hold = nil; return nil })
	case s.Hold != nil:
		return nil
	}
	a.Log.Warn("foreign generation", "running", f.Running, "deployed", out)
	return a.Store.Update(func(s *state.State) error {
		s.Hold = &state.Hold{Why: fmt.Sprintf("%s was switched to by somebody else; waiting for a commit with another system, or: pullnode resume", f.Running),
			Since: a.Now().UTC(), Toplevel: string(out)}
		return nil
	})
}
