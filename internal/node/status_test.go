package node

import (
	"testing"

	"github.com/tally-kafka/tally/internal/api"
)

// An answer keeps the role and the epoch that it was begun with, or says less.
func TestRoleSince(t *testing.T) {
	owner, standby := laneStatus{state: api.LaneRunning, epoch: 42}, laneStatus{state: api.LaneStandby, epoch: 41}
	later := laneStatus{state: api.LaneRunning, epoch: 43}
	for _, test := range []struct {
		then laneStatus
		role api.Role
		now  laneStatus
		want api.Role
	}{
		{owner, api.RoleOwner, owner, api.RoleOwner},
		{owner, api.RoleUnsure, owner, api.RoleUnsure},
		{owner, api.RoleOwner, later, api.RoleUnsure},
		{owner, api.RoleStandby, standby, api.RoleStandby},
		{owner, api.RoleLost, owner, api.RoleLost},
		{standby, api.RoleOwner, later, api.RoleStandby},
		{standby, api.RoleUnsure, owner, api.RoleStandby},
		{standby, api.RoleStandby, standby, api.RoleStandby},
	} {
		if got := roleSince(test.then, test.role, test.now); got != test.want {
			t.Errorf("an answer begun at %v, in the end %s at %v, is %s, not %s", test.then, test.role, test.now, got, test.want)
		}
	}
}
