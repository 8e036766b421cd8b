package handlers

import "github.com/labstack/echo/v4"

// An actor is who makes a call: the name goes into the audit trail.
type actor struct {
	name string // such as "admin_token", "token zapier"
	role role
}

// A role is what an actor may do. Each includes those before it.
type role string

// The roles, from the least to the most. They are stored in the ledger: never rename one.
const (
	roleRead   role = "read"   // sees everything
	roleInvite role = "invite" // and decides about invitations
	roleAdmin  role = "admin"  // and about tokens, and old deliveries
)

// actorAdmin is the actor of calls with the admin token of the configuration.
const actorAdmin = "admin_token"

// act says who makes the call.
func act(c echo.Context, who actor) { c.Set("actor", who) }

// actorOf is who makes the call.
func actorOf(c echo.Context) actor {
	who, _ := c.Get("actor").(actor)
	return who
}
