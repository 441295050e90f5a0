import ArgumentParser
import CLinux
import Commands

kairos_keep_standard_descriptors()
Kairos.start()
