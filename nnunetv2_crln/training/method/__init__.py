"""The method on tensors and modules: student, teacher, prototypes, pseudo labels and losses."""
