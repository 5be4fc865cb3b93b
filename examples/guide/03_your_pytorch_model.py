"""Trains a classifier in PyTorch and saves it for 03_your_pytorch_model.cpp, with inputs and what PyTorch makes of them.

    python3 03_your_pytorch_model.py [FILE]      needs: pip install torch safetensors numpy

Which of two letters comes more often in a text of eleven?
"""

import pathlib
import sys

import torch
from safetensors.torch import save_file


class Classifier(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(2, 16)
        layer = torch.nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
        self.encoder = torch.nn.TransformerEncoder(layer, 2, norm=torch.nn.LayerNorm(16), enable_nested_tensor=False)
        self.head = torch.nn.Linear(16, 2)

    def forward(self, ids):
        return self.head(self.encoder(self.embedding(ids)).mean(dim=1))


torch.manual_seed(0)
model = Classifier()
optimizer = torch.optim.Adam(model.parameters(), 3e-3)
for step in range(300):
    ids = torch.randint(0, 2, (64, 11))
    loss = torch.nn.functional.cross_entropy(model(ids), (ids.sum(1) > 5).long())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

model.eval()
ids = torch.randint(0, 2, (100, 11))
with torch.no_grad():
    logits = model(ids)
print("right", (logits.argmax(1) == (ids.sum(1) > 5)).float().mean().item())
path = sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).with_suffix(".safetensors")
save_file(model.state_dict() | {"test.ids": ids, "test.logits": logits}, path)
