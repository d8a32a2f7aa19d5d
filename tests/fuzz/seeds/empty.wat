;; A module may hold nothing but a name.
(module $nothing (@custom "empty"))
