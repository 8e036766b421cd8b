package handlers

// Routes are the methods and paths that a server answers, as Echo has them.
func (s *Server) Routes() (all [][2]string) {
	for _, r := range s.echo.Routes() {
		all = append(all, [2]string{r.Method, r.Path})
	}
	return all
}
