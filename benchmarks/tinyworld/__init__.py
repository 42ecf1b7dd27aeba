"""A drawn world with ground truth: pictures, sounds and conversations that tiny models can learn on a laptop.

attributes   what scenes and sounds are made of, what they are called, which are held out
drawing      a scene as pixels
sounding     an event as samples
training     what models are trained on: pictures in groups, sounds as stems
words        what is said in cases
asking       cases of one round about pictures; examples, conversing and listening: the others
folder       a folder of cases, written and read; plans: how many
building     `anybench build tinyworld`
suites       the suites
"""
