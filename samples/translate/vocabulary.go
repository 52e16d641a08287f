package main

// vocabulary is what built-in sentences are made of, each word with its Spanish one. No word occurs twice on either
// side, so that the mock translator finds the way back.
var vocabulary = struct{ adjectives, nouns, verbs, places, times [][2]string }{
	adjectives: [][2]string{
		{"old", "viejo"}, {"young", "joven"}, {"quiet", "tranquilo"}, {"brave", "valiente"}, {"green", "verde"}, {"tired", "cansado"},
		{"clever", "listo"}, {"hungry", "hambriento"}, {"happy", "feliz"}, {"strange", "extraño"}, {"small", "pequeño"}, {"lazy", "perezoso"},
	},
	nouns: [][2]string{
		{"sailor", "marinero"}, {"dog", "perro"}, {"cat", "gato"}, {"teacher", "maestro"}, {"horse", "caballo"}, {"baker", "panadero"}, {"king", "rey"},
		{"pilot", "piloto"}, {"doctor", "médico"}, {"child", "niño"}, {"rabbit", "conejo"}, {"painter", "pintor"}, {"guest", "huésped"}, {"bird", "pájaro"},
	},
	verbs: [][2]string{
		{"sees", "ve"}, {"follows", "sigue"}, {"greets", "saluda"}, {"finds", "encuentra"}, {"hears", "oye"},
		{"helps", "ayuda"}, {"forgets", "olvida"}, {"paints", "pinta"}, {"remembers", "recuerda"},
	},
	places: [][2]string{
		{"river", "río"}, {"house", "casa"}, {"market", "mercado"}, {"forest", "bosque"}, {"bridge", "puente"},
		{"harbour", "puerto"}, {"garden", "jardín"}, {"station", "estación"},
	},
	times: [][2]string{{"today", "hoy"}, {"again", "otra-vez"}, {"slowly", "despacio"}, {"often", "a-menudo"}, {"alone", "solo"}},
}

// grammar is the little that holds the words together.
var grammar = [][2]string{{"the", "el"}, {"near", "junto-a"}}

// dictionary maps every word of the vocabulary one way.
func dictionary(d direction) map[string]string {
	words := make(map[string]string)
	v := vocabulary
	for _, list := range [][][2]string{v.adjectives, v.nouns, v.verbs, v.places, v.times, grammar} {
		for _, pair := range list {
			if d == toSpanish {
				words[pair[0]] = pair[1]
			} else {
				words[pair[1]] = pair[0]
			}
		}
	}
	return words
}
