package handlers

import (
	"reflect"

	"github.com/usher-dev/usher/internal/access"
)

// Routes are the methods and paths that a server answers, as Echo has them.
func (s *Server) Routes() (all [][2]string) {
	for _, r := range s.echo.Routes() {
		all = append(all, [2]string{r.Method, r.Path})
	}
	return all
}

// Wire are the types behind the schemas of openapi.yaml.
var Wire = map[string]reflect.Type{
	"InvitationRequest": reflect.TypeFor[invitationRequest](), "ListRequest": reflect.TypeFor[listRequest](),
	"Invitation": reflect.TypeFor[invitation](), "Row": reflect.TypeFor[listed](), "List": reflect.TypeFor[listAnswer](),
	"EventDetails": reflect.TypeFor[access.Event](), "Decision": reflect.TypeFor[decision](), "Attempt": reflect.TypeFor[attempt](), "SetAside": reflect.TypeFor[aside](),
	"Receipt": reflect.TypeFor[receipt](), "RulesTest": reflect.TypeFor[RulesTest](), "RuleDifference": reflect.TypeFor[RuleDifference](), "Outlook": reflect.TypeFor[Outlook](),
	"Summary": reflect.TypeFor[summary](), "AuditEntry": reflect.TypeFor[auditEntry](), "Token": reflect.TypeFor[apiToken](),
	"Problem": reflect.TypeFor[problem](), "FieldError": reflect.TypeFor[fieldError](),
}
